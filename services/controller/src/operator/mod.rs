//! What an operator can ask of the cluster's controller, and how it reaches it.

mod admin;
mod refusal;
mod topics;

use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::{
    ClusterStatus, Elected, NewTopic, NodeStatus, Page, PartitionQuery, PartitionStatus, Reassignment,
    TopicInfo,
};
use tokio::sync::{mpsc, oneshot};

pub use refusal::Refusal;
pub use topics::ClusterTopics;

/// Commands that wait for the controller; whoever comes next waits to queue.
pub(crate) const COMMANDS_MAX: usize = 64;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Commands to the controller. Every store has one; where the store is not the controller, it answers
/// [`Refusal::NotController`] with who is. Cheap to clone.
///
/// What each command means is said at [`tidelog_peer::ClusterAdmin`], which this implements for those who
/// only pass errors on; called directly, commands are refused with their reasons.
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

    /// Partitions, a page at a time.
    partitions => Partitions { query: PartitionQuery } -> Page<PartitionStatus>;

    /// Takes a node's leaderships away and gives it nothing new.
    drain => Drain { node: NodeId } -> ();

    /// Ends a drain, and a decommission that is not finished.
    undrain => Undrain { node: NodeId } -> ();

    /// Moves everything that a node has to others, for good.
    decommission => Decommission { node: NodeId } -> ();

    /// Moves partitions. Replaces moves that are under way.
    reassign => Reassign { moves: Vec<Reassignment> } -> ();

    /// Evens leaderships and replicas out now rather than bit by bit. Answers how many leaderships move.
    rebalance => Rebalance {} -> u32;

    /// New leaders for partitions without an in-sync replica. **Acknowledged records may be lost.**
    elect_unclean => ElectUnclean { partitions: Vec<TopicPartition> } -> Vec<Elected>;

    /// Changes how many replicas each partition of a topic has.
    set_replication_factor => SetReplicationFactor { topic: TopicId, replicas: u32 } -> ();

    /// Gives a topic more partitions, up to this number altogether.
    add_partitions => AddPartitions { topic: TopicId, partitions: u32 } -> ();

    /// Creates a topic; when this returns, every partition has a leader. Without a replication factor it
    /// has three replicas, or as many as stores can take them when those are fewer.
    create_topic => CreateTopic { topic: NewTopic } -> TopicInfo;
}

impl Operator {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }
}
