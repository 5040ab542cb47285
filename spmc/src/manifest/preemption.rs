//! The effect of Non-secure interrupts on a partition. Three properties say so, each of which
//! replaced an older one: `run-time-model` (FF-A v1.0 table 3.1), `managed-exit`, and
//! `ns-interrupts-action`.

use super::config::{ExceptionLevel, NsInterruptAction};
use super::error::{Found, Parsed};
use super::property::Property;
use super::tree::Node;

/// `run-time-model`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    RunToCompletion,
    Preemptible,
}

/// The properties, while they are read.
#[derive(Default)]
pub(super) struct Preemption {
    action: Option<NsInterruptAction>,
    managed_exit: bool,
    model: Option<Model>,
}

impl Preemption {
    /// Reads one of the three properties.
    pub fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "managed-exit" => self.managed_exit = property.flag()?,
            "run-time-model" => {
                let is_preemptible = property.u32_up_to(1, "0 or 1")? == 1;
                self.model = Some(match is_preemptible {
                    true => Model::Preemptible,
                    false => Model::RunToCompletion,
                });
            }
            _ => {
                self.action = Some(match property.u32_up_to(2, "0 to 2")? {
                    0 => NsInterruptAction::Queued,
                    1 => NsInterruptAction::ManagedExit,
                    _ => NsInterruptAction::Signaled,
                });
            }
        }
        Ok(())
    }

    /// Returns the action that counts.
    pub fn action(&self) -> NsInterruptAction {
        match (self.action, self.model) {
            _ if self.managed_exit => NsInterruptAction::ManagedExit,
            (Some(action), _) => action,
            (None, Some(Model::RunToCompletion)) => NsInterruptAction::Queued,
            (None, _) => NsInterruptAction::Signaled,
        }
    }

    /// Returns whether `run-time-model` says the contrary of what counts.
    pub fn overrules_model(&self) -> bool {
        let queued = self.action() == NsInterruptAction::Queued;
        let completes = |model| model == Model::RunToCompletion;
        self.model.is_some_and(|model| completes(model) != queued)
    }

    /// Checks that the partition can have the action that counts.
    pub fn check(
        &self,
        root: &Node,
        exception_level: Option<ExceptionLevel>,
        queues_others: bool,
    ) -> NsInterruptAction {
        let action = self.action();
        if action == NsInterruptAction::ManagedExit && exception_level == Some(ExceptionLevel::SEl0)
        {
            root.error(
                "ns-interrupts-action",
                "0 or 2 for an S-EL0 partition",
                Found::Count(1),
            );
        }
        if queues_others && action != NsInterruptAction::Queued {
            root.error(
                "other-s-interrupts-action",
                "1, as ns-interrupts-action is not 0",
                Found::Count(0),
            );
        }
        action
    }
}
