use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn live(node: u32, boot: u64) -> Live {
    Live {
        node: NodeId(node),
        directory: DirectoryId::from_bytes([node as u8; 16]),
        boot,
        address: format!("store-{node}:9441"),
        rack: None,
        software: String::new(),
        roles: vec![],
        draining: false,
    }
}

fn pong(of: &Live) -> Pong {
    Pong { directory: of.directory, boot: of.boot, fit: true, resigned: vec![] }
}

fn three() -> Health {
    let mut health = Health::new(Options::default());
    (1..=3).for_each(|node| health.leased(&live(node, 1), Duration::ZERO));
    health
}

fn miss(health: &mut Health, node: u32, times: usize) {
    (0..times).for_each(|_| health.missed(NodeId(node)));
}

#[test]
fn a_store_is_dead_after_five_misses_and_not_before() {
    let mut health = three();
    miss(&mut health, 2, 4);
    assert_eq!(health.standing(NodeId(2), SECOND), Standing::Good);
    miss(&mut health, 2, 1);
    health.assess(SECOND);
    assert_eq!(health.standing(NodeId(2), SECOND), Standing::Dead);
    assert_eq!(health.standing(NodeId(1), SECOND), Standing::Good);
}

#[test]
fn a_store_is_dead_at_once_when_nobody_listens_or_another_process_answers() {
    let mut health = three();
    health.gone(NodeId(1));
    health.answered(NodeId(2), pong(&live(2, 2)), SECOND);
    assert_eq!(health.standing(NodeId(1), SECOND), Standing::Dead);
    assert_eq!(health.standing(NodeId(2), SECOND), Standing::Dead);
    health.leased(&live(2, 2), SECOND);
    assert_eq!(health.standing(NodeId(2), SECOND), Standing::Probation);
    health.lease_ended(NodeId(3));
    assert_eq!(health.standing(NodeId(3), SECOND), Standing::Dead);
}

#[test]
fn a_controller_that_hears_nobody_suspects_itself() {
    let mut health = three();
    miss(&mut health, 2, 5);
    miss(&mut health, 3, 5);
    health.assess(SECOND);
    assert!(health.is_isolated());
    assert_eq!(health.standing(NodeId(2), SECOND), Standing::Good);
    assert!(!health.should_step_down(2 * SECOND));
    assert!(health.should_step_down(4 * SECOND));
    health.answered(NodeId(2), pong(&live(2, 1)), 4 * SECOND);
    health.assess(4 * SECOND);
    assert!(!health.is_isolated());
    assert_eq!(health.standing(NodeId(3), 4 * SECOND), Standing::Dead);
    // A host that says that nobody listens was heard.
    health.gone(NodeId(2));
    health.gone(NodeId(3));
    health.assess(4 * SECOND);
    assert!(!health.is_isolated());
}

#[test]
fn the_more_often_a_store_fails_the_longer_it_waits_and_is_forgiven_in_the_end() {
    let mut health = three();
    let mut now = SECOND;
    let mut waits = Vec::new();
    for _ in 0..8 {
        miss(&mut health, 2, 5);
        health.assess(now);
        assert_eq!(health.standing(NodeId(2), now), Standing::Dead);
        health.answered(NodeId(2), pong(&live(2, 1)), now);
        let began = now;
        while health.standing(NodeId(2), now) == Standing::Probation {
            now += SECOND;
        }
        waits.push(now.saturating_sub(began).as_secs());
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    now += 2 * FORGIVEN_AFTER;
    miss(&mut health, 2, 5);
    health.answered(NodeId(2), pong(&live(2, 1)), now);
    assert_eq!(health.standing(NodeId(2), now + 2 * SECOND), Standing::Good);
}
