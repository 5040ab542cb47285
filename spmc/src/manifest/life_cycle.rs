//! The fate of a partition that fails, or is replaced while the system runs (FF-A v1.3, partition
//! lifecycle, live activation). The properties depend on each other.

use super::config::{AbortAction, LiveActivation, PartitionConfig};
use super::error::{Found, Parsed, go_on};
use super::property::Property;
use super::regions::Phandles;
use super::tree::Node;

/// Registers that may tell a new image that it was activated: x4 has the number of the PE at boot.
const REGISTERS: &str = "0 to 3 or 5 to 7";

/// Says in errors what live activation needs.
const TOGETHER: &str = "it together with live-activation-support";

/// The properties, while they are read.
#[derive(Default)]
pub(super) struct LifeCycle<'a> {
    abort_action: Option<AbortAction>,
    live: bool,
    register: Option<u8>,
    /// `live-state-buffer-info`, with the phandle in it.
    buffer: Option<(Node<'a>, Option<u32>)>,
}

impl<'a> LifeCycle<'a> {
    /// Reads one of the properties, except `lifecycle-support`.
    pub fn set(&mut self, property: &Property) -> Parsed<()> {
        match property.name {
            "abort-action" => {
                self.abort_action = Some(match property.u32_up_to(3, "0 to 3")? {
                    0 => AbortAction::Stop,
                    1 => AbortAction::Destroy,
                    2 => AbortAction::Restart,
                    _ => AbortAction::Propagate,
                });
            }
            "live-activation-register" => {
                let register = property.u32()?;
                if !matches!(register, 0..=3 | 5..=7) {
                    return Err(property.error(REGISTERS, Found::Count(register.into())));
                }
                self.register = Some(register as u8);
            }
            _ => self.live = property.flag()?,
        }
        Ok(())
    }

    /// Reads `live-state-buffer-info`.
    pub fn parse_buffer(&mut self, node: &Node<'a>) {
        let mut buffer = None;
        for property in node.properties() {
            if property.name == "live-state-buffer" {
                buffer = property.u32().ok();
            }
        }
        go_on(node.require("\"arm,ffa-manifest,live-state-buffer\""));
        if buffer.is_none() {
            node.missing("live-state-buffer", "a phandle of a memory region");
        }
        self.buffer = Some((*node, buffer));
    }

    /// Checks the properties together, and completes the configuration.
    pub fn check(
        &self,
        root: &Node,
        vcpu_count: u16,
        phandles: &Phandles,
        config: &mut PartitionConfig,
    ) {
        let together = |name, expected| {
            root.missing(name, expected);
        };
        if let Some(action) = self.abort_action {
            config.abort_action = action;
            if !config.lifecycle {
                together("lifecycle-support", "it together with abort-action");
            }
        }
        if config.abort_action == AbortAction::Restart && vcpu_count != 1 {
            // The SPMC cannot stop contexts on other PEs.
            root.error(
                "execution-ctx-count",
                "1, as abort-action is 2 (restart)",
                Found::Count(vcpu_count.into()),
            );
        }
        if let (Some(live), Some(boot)) = (self.register, config.boot_register)
            && live == boot
        {
            root.error(
                "live-activation-register",
                "another register than gp-register-num",
                Found::Count(live.into()),
            );
        }
        if !self.live {
            return;
        }
        if !config.lifecycle {
            together("lifecycle-support", TOGETHER);
        }
        if vcpu_count != 1 {
            root.error(
                "execution-ctx-count",
                "1 with live-activation-support",
                Found::Count(vcpu_count.into()),
            );
        }
        if config.image_uuid.is_nil() {
            together("image-uuid", TOGETHER);
        }
        if self.register.is_none() {
            together("live-activation-register", TOGETHER);
        }
        if let Some(register) = self.register {
            let state_buffer = self.state_buffer(phandles);
            config.live_activation = Some(LiveActivation {
                register,
                state_buffer,
            });
        }
    }

    /// Returns the index of the region of `live-state-buffer-info`, if there is one. A phandle that
    /// is missing, or that of a region with a fault, is a fault already.
    fn state_buffer(&self, phandles: &Phandles) -> Option<usize> {
        let (node, phandle) = self.buffer.as_ref()?;
        let found = phandles.find(node, "live-state-buffer", (*phandle)?);
        found.ok().flatten()
    }

    /// Returns the properties that are without effect, as there is no `live-activation-support`.
    pub fn without_support(&self) -> impl Iterator<Item = &'static str> {
        let register = self.register.map(|_| "live-activation-register");
        let buffer = self.buffer.as_ref().map(|_| "live-state-buffer-info");
        let unused = register.into_iter().chain(buffer);
        unused.filter(|_| !self.live)
    }
}
