//! What an operator can ask of the cluster's controller, and how it reaches it.

mod refusal;
mod status;

use tidelog_model::{NodeId, TopicConfig, TopicId, TopicName, TopicPartition};
use tokio::sync::{mpsc, oneshot};

pub use refusal::Refusal;
pub use status::{ClusterStatus, Elected, NodeState, NodeStatus, PartitionState, PartitionStatus};

/// Commands that wait for the controller; whoever comes next waits to queue.
pub(crate) const COMMANDS_MAX: usize = 64;

/// Most partitions in one command that names them.
pub(crate) const PARTITIONS_PER_COMMAND_MAX: usize = 10_000;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: TopicName,
    pub partitions: u32,
    pub replication_factor: u32,
    pub config: TopicConfig,
}

/// Commands to the controller. Every store has one; where the store is not the controller, it answers
/// [`Refusal::NotController`] with who is. Cheap to clone.
///
/// A command that changes something answers when the change is committed: what follows from it (moving
/// replicas, say) goes on after that, whoever is controller, and shows in the status.
#[derive(Clone, Debug)]
pub struct Operator {
    commands: mpsc::Sender<Command>,
}

macro_rules! commands {
    ($( $(#[$doc:meta])* $call:ident => $name:ident { $($argument:ident: $type:ty),* } -> $answer:ty; )+) => {
        /// A command on its way to the controller's task.
        #[derive(Debug)]
        pub(crate) enum Command {
            $( $name { $($argument: $type,)* reply: Reply<$answer> }, )+
        }

        impl Command {
            /// Answers with a refusal, whatever was asked.
            pub(crate) fn refuse(self, refusal: Refusal) {
                // Nobody may be listening any more, which is fine.
                match self {
                    $( Self::$name { reply, .. } => drop(reply.send(Err(refusal))), )+
                }
            }
        }

        impl Operator {
            $( $(#[$doc])*
            pub async fn $call(&self, $($argument: $type),*) -> Result<$answer, Refusal> {
                let (reply, answer) = oneshot::channel();
                let command = Command::$name { $($argument,)* reply };
                self.commands.send(command).await.map_err(|_| Refusal::Stopping)?;
                answer.await.map_err(|_| Refusal::OutcomeUnknown)?
            } )+
        }
    };
}

commands! {
    /// The cluster as a whole.
    status => Status {} -> ClusterStatus;

    /// Every node that ever was part of the cluster.
    nodes => Nodes {} -> Vec<NodeStatus>;

    /// The partitions of one topic, or of all.
    partitions => Partitions { topic: Option<TopicId> } -> Vec<PartitionStatus>;

    /// Takes a node's leaderships away and gives it nothing new. Its replicas stay and keep following.
    /// Refused while it has the last replica in sync of anything. Lasts until [`Operator::undrain`].
    drain => Drain { node: NodeId } -> ();

    /// Ends a drain, and a decommission that is not finished; replicas that have moved stay moved.
    undrain => Undrain { node: NodeId } -> ();

    /// Moves everything that a node has to others, for good. Works for a node that is dead too, if the
    /// others have its data. Refused where there are too few others.
    decommission => Decommission { node: NodeId } -> ();

    /// Moves partitions to these nodes, the preferred leader first. Replaces a move that is under way.
    reassign => Reassign { moves: Vec<(TopicPartition, Vec<NodeId>)> } -> ();

    /// Evens leaderships and replicas out now rather than bit by bit. Answers how many leaderships move
    /// back to their preferred replicas; replicas follow at the usual rate.
    rebalance => Rebalance {} -> usize;

    /// Gives partitions of which no in-sync replica can be reached to the best of the others.
    /// **Acknowledged records may be lost.** Refused while an in-sync replica is alive.
    elect_unclean => ElectUnclean { partitions: Vec<TopicPartition> } -> Vec<Elected>;

    /// Changes how many replicas each partition of a topic has; they are added and removed bit by bit.
    set_replication_factor => SetReplicationFactor { topic: TopicId, replicas: u32 } -> ();

    /// Gives a topic more partitions, up to this number altogether.
    add_partitions => AddPartitions { topic: TopicId, partitions: u32 } -> ();

    /// Creates a topic; when this returns, every partition has a leader.
    create_topic => CreateTopic { topic: NewTopic } -> TopicId;
}

impl Operator {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }
}
