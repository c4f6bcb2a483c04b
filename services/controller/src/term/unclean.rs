//! Leaders from outside the ISR, on an operator's command.

use tidelog_meta::Live;
use tidelog_model::TopicPartition;

use super::Term;
use super::passes::addressed;
use crate::operator::Refusal;
use crate::orders;
use crate::plan::Change;
use crate::plan::election::{self, Reports};

impl Term {
    /// Whom to ask about partitions that are to get an unclean leader. They are left alone by the plan
    /// until [`Term::unclean_reported`].
    pub(crate) fn begin_unclean(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(Live, Vec<TopicPartition>)>, Refusal> {
        if let Some(partition) = partitions.iter().find(|partition| self.busy.contains(partition)) {
            return Err(Refusal::Busy(*partition));
        }
        orders::unclean(&self.world(), partitions)?;
        self.busy.extend(partitions);
        let asked = election::whom_to_ask(&self.world(), partitions, true);
        Ok(addressed(&self.image, asked))
    }

    /// The changes that make the best of what is left; all or none.
    pub(crate) fn unclean_reported(
        &mut self,
        partitions: &[TopicPartition],
        reports: &Reports,
    ) -> Result<Vec<Change>, Refusal> {
        self.busy.retain(|busy| !partitions.contains(busy));
        let world = self.world();
        let elect = |partition: &TopicPartition| {
            let change = election::elect_unclean(&world, *partition, reports);
            change.ok_or(Refusal::NobodyAnswers(*partition))
        };
        partitions.iter().map(elect).collect()
    }
}
