//! Checks of what must hold in every state.

use super::state::{Context, Is, On, Value, Whose, Why};

/// Indices of the engine's words of lines that make a waiting context run.
const PENDING: usize = 0;
const ENABLED: usize = 1;
const ACTIVE: usize = 3;

impl Context {
    /// Returns whether the context is in the middle of work for its caller.
    pub fn works(&self) -> bool {
        matches!(self.is, Is::Running | Is::Blocked(_) | Is::Preempted)
    }

    pub(super) fn caller(&self) -> Option<usize> {
        self.work.and_then(|(_, whose, _)| whose.living())
    }
}

impl Value {
    /// Panics if something is wrong. `owners` are the contexts that have the interrupt, `exits`
    /// those with a managed exit.
    pub fn check(&self, owners: &[usize], exits: &[usize], line: u32, bit: u64) {
        self.check_pes();
        for (index, context) in self.contexts.iter().enumerate() {
            self.check_links(index, context, exits);
        }
        self.check_interrupt(owners, line, bit);
    }

    /// Checks that each running context runs on exactly one PE, and that no other context does.
    fn check_pes(&self) {
        let mut on = vec![0; self.contexts.len()];
        for pe in &self.pes {
            if let On::Runs(stack) = pe {
                stack.iter().for_each(|index| on[*index] += 1);
            }
        }
        for (index, context) in self.contexts.iter().enumerate() {
            let runs = usize::from(context.is == Is::Running);
            assert_eq!(on[index], runs, "{index} on how many PEs: {self:#?}");
        }
    }

    /// Checks that links agree at both ends.
    fn check_links(&self, index: usize, context: &Context, exits: &[usize]) {
        if let Is::Blocked(callee) = context.is {
            let (callee, lives) = callee.unwrap_or_else(|| panic!("{index} waits for nobody"));
            let callee = &self.contexts[callee];
            let works = callee.works() || matches!(callee.is, Is::Stopped(_));
            let is_known = works && callee.caller() == Some(index);
            // The callee may have failed or gone off. The Normal world may then run the blocked
            // caller.
            let is_gone = !lives || matches!(callee.is, Is::Aborted | Is::Off) || callee.dead;
            assert!(
                is_known || is_gone,
                "{index} waits for one that does not know it: {self:#?}"
            );
            let others = self.contexts.iter().filter(|other| other.is == context.is);
            assert!(!lives || others.count() == 1, "two wait for one: {self:#?}");
        }
        if context.works()
            && let Some(caller) = context.caller()
        {
            let waits = self.waits_for(caller, index);
            let is_gone = matches!(self.contexts[caller].is, Is::Aborted | Is::Off);
            assert!(
                waits || is_gone || self.is_stopped(index),
                "{index} works for one that does not wait: {self:#?}"
            );
        }
        if let Some((Why::Request(requester, _), Whose::Context(Some((caller, _))), _)) =
            context.work
        {
            assert!(
                requester > 0x8000,
                "a request of the Normal world for {caller}: {self:#?}"
            );
        }
        if let (Is::Stopped(_), Some(caller)) = (context.is, context.caller())
            && let Some((first, owner)) = self.stopped_for(index, caller)
            && !exits.contains(&owner)
        {
            let owner = &self.contexts[owner];
            let knows =
                matches!(owner.work, Some((Why::Resume(Some((of, true)), _), ..)) if of == first);
            let is_gone = owner.dead || owner.is == Is::Off;
            assert!(
                knows || is_gone,
                "{index} is stopped for one that does not know it: {self:#?}"
            );
        }
    }

    fn waits_for(&self, caller: usize, callee: usize) -> bool {
        self.contexts[caller].is == Is::Blocked(Some((callee, true)))
    }

    /// Returns whether the chain that continues at `index` is stopped or has lost its end.
    fn is_stopped(&self, index: usize) -> bool {
        match self.contexts[index].is {
            Is::Stopped(_) => true,
            Is::Blocked(Some((callee, true))) if !self.contexts[callee].dead => {
                self.contexts[callee].is == Is::Off || self.is_stopped(callee)
            }
            Is::Blocked(_) => true,
            _ => false,
        }
    }

    /// Returns `index` and the contexts for which it works, from the nearest on.
    pub fn chain_of(&self, index: usize) -> Vec<usize> {
        let mut chain = vec![index];
        let mut last = index;
        while let Some(caller) = self.contexts[last].caller()
            && self.waits_for(caller, last)
        {
            chain.push(caller);
            last = caller;
        }
        chain
    }

    /// Returns the first member of the chain that ends with `index` and works for `caller`, and the
    /// context for which that member is stopped.
    fn stopped_for(&self, index: usize, caller: usize) -> Option<(usize, usize)> {
        if self.waits_for(caller, index) {
            self.stopped_for(caller, self.contexts[caller].caller()?)
        } else {
            Some((index, caller))
        }
    }

    /// Checks that the interrupt is where a PE will find it.
    fn check_interrupt(&self, owners: &[usize], line: u32, bit: u64) {
        let lives = |index: &&usize| !self.contexts[**index].dead;
        let owners: Vec<usize> = owners.iter().filter(lives).copied().collect();
        let has = |index: usize, word: usize| self.contexts[index].lines[word] & bit != 0;
        let unfinished = owners
            .iter()
            .any(|index| has(*index, PENDING) || has(*index, ACTIVE));
        assert!(
            unfinished || !self.gic.is_active(line),
            "the interrupt is active, and nobody will end that: {self:#?}"
        );
        for index in owners {
            let context = &self.contexts[index];
            let calls =
                context.lines[PENDING] & context.lines[ENABLED] & bit & !context.lines[4] != 0;
            if calls && context.is == Is::Waiting {
                assert!(
                    self.somebody_looks(),
                    "{index} waits, its interrupt does, too: {self:#?}"
                );
            }
        }
    }

    /// Returns whether a PE is due to look for interrupts, or handles some.
    fn somebody_looks(&self) -> bool {
        self.pes.iter().enumerate().any(|(pe, on)| match on {
            On::Off => false,
            On::Normal => self.gic.has_interrupt(pe) || self.gic.is_to_look(pe),
            On::Runs(stack) => {
                let handles = |index: &usize| {
                    matches!(self.contexts[*index].work, Some((Why::Interrupt, ..)))
                };
                self.gic.has_interrupt(pe)
                    || self.gic.is_to_look(pe)
                    || stack.len() > 1
                    || stack.iter().any(handles)
            }
        })
    }

    /// Returns whether there is no work left.
    pub fn is_at_rest(&self) -> bool {
        let is_off = |on: &On| *on == On::Off;
        let pes = self.pes.iter().all(|on| matches!(on, On::Off | On::Normal));
        let someone_is_off = self.pes.iter().any(is_off);
        let contexts = self.contexts.iter().all(|context| {
            let is_done = match context.is {
                Is::Waiting => true,
                Is::Off => someone_is_off || context.dead,
                _ => context.dead,
            };
            is_done && (context.dead || context.lines[PENDING] & context.lines[ENABLED] == 0)
        });
        let looks =
            (0..self.pes.len()).any(|pe| self.pes[pe] == On::Normal && self.gic.has_interrupt(pe));
        pes && contexts && !looks
    }
}
