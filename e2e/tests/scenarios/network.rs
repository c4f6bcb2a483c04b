//! A bad network between clients and server: slower, and correct.

use std::time::Duration;

use tidelog::{Client, Context, TransportChoice};
use tidelog_e2e::faults::{Conditions, NetworkProxy, Way};
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::{Server, ServerOptions, Workspace, until};
use tokio::runtime::Runtime;

use crate::recorded::Clients;
use crate::workload::connect;

const RECOVERY: Duration = Duration::from_secs(40);

/// A client that reaches the server through the proxy.
async fn through(server: &Server, proxy: &NetworkProxy, transport: TransportChoice) -> Client {
    let path = server.home().join(".config/tidelog/context.json");
    let mut context = Context::load(&path).expect("a readable context").expect("the server wrote a context");
    context.endpoint = proxy.address();
    let mut options = context.options().expect("a usable context");
    options.transport = transport;
    Client::with_options(options).await.expect("a connection")
}

fn bad_networks() -> Vec<(&'static str, Vec<(Way, Conditions)>)> {
    let slow = Conditions {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(10),
        ..Conditions::default()
    };
    let lossy = Conditions { loss_per_mille: 20, ..slow };
    let unordered =
        Conditions { late_per_mille: 100, late_by: Duration::from_millis(15), ..Conditions::default() };
    let cut = Conditions { cut: true, ..Conditions::default() };
    vec![
        ("delay", vec![(Way::ToServer, slow), (Way::ToClient, slow)]),
        ("loss", vec![(Way::ToServer, lossy), (Way::ToClient, lossy)]),
        ("reordering", vec![(Way::ToServer, unordered), (Way::ToClient, unordered)]),
        ("nothing reaches the server", vec![(Way::ToServer, cut)]),
        ("nothing reaches the clients", vec![(Way::ToClient, cut)]),
    ]
}

fn survive_a_bad_network(transport: TransportChoice) {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    let topic = Topic::new("travelled", 2);
    server.cli().create_topic("travelled", topic.partitions, &[]);
    let proxy = NetworkProxy::start(server.quic_port, 42);
    let runtime = Runtime::new().expect("a runtime");
    let recorder = Recorder::new("a bad network", RECOVERY);
    let connect_through = async || through(&server, &proxy, transport).await;
    let clients = runtime.block_on(Clients::start_with(&recorder, &topic, connect_through));
    let progress = |what: &str, records: u64| {
        let enough = recorder.acknowledged() + records;
        until(Duration::from_mins(1), what, || (recorder.acknowledged() >= enough).then_some(()));
    };
    progress("load before the first fault", 500);
    for (what, conditions) in bad_networks() {
        let fault = recorder.fault(what);
        let is_cut = conditions.iter().any(|(_, conditions)| conditions.cut);
        for (way, conditions) in conditions {
            proxy.link().set(way, conditions);
        }
        if is_cut {
            let before = proxy.link().counts();
            until(Duration::from_mins(1), what, || {
                let now = proxy.link().counts();
                (now.dropped + now.held > before.dropped + before.held).then_some(())
            });
            // Connections that TCP still believes in end now; QUIC's find a new way by themselves.
            proxy.link().break_connections();
        } else {
            progress(what, 300);
        }
        proxy.link().heal();
        fault.heal();
        progress("load after a fault", 300);
    }
    runtime.block_on(clients.finish());
    let client = runtime.block_on(connect(&server));
    runtime.block_on(recorder.drain(&client, &topic, None));
    recorder.judge(&workspace);
}

#[test]
fn quic_through_loss_delay_reordering_and_cuts_is_slower_and_correct() {
    survive_a_bad_network(TransportChoice::Quic);
}

#[test]
fn tcp_through_delay_and_cuts_is_slower_and_correct() {
    survive_a_bad_network(TransportChoice::Tcp);
}
