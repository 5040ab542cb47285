//! Whether handlers of secure interrupts leave a PE to others: a source that floods it must not take it for ever.
//!
//! Interrupts are counted as long as handlers hardly let go of the PE. Time is compared with time only, so the unit does not matter.

/// Interrupts that may come without a pause.
const LIMIT: u16 = 256;

/// A pause is this part of the time that the handlers before it took, or longer.
const PAUSE: u64 = 8;

/// What one PE remembers. All zero: nothing was handled yet.
#[derive(Debug)]
pub struct Flood {
    taken: u16,
    began: u64,
    ended: u64,
}

impl Flood {
    /// Nothing was handled yet.
    pub const fn new() -> Self {
        Self {
            taken: 0,
            began: 0,
            ended: 0,
        }
    }

    /// Handlers begin at the time `now`, if there are any: for interrupts of whoever runs they do not end either.
    pub fn begin(&mut self, now: u64) {
        let pause = now.wrapping_sub(self.ended);
        let busy = self.ended.wrapping_sub(self.began);
        if self.began >= self.ended || pause >= busy / PAUSE {
            self.taken = 0;
        }
        self.began = now;
    }

    /// They end.
    pub fn end(&mut self, now: u64) {
        self.ended = now;
    }

    /// Another interrupt came; whether that is one too many. Counting begins anew then: those that come after it need not be to blame.
    pub fn take(&mut self) -> bool {
        if self.taken == LIMIT {
            self.taken = 0;
            return true;
        }
        self.taken = self.taken.wrapping_add(1);
        false
    }
}

impl Default for Flood {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through `times` interrupts that take 80 each, with pauses between them; how many came before it was one too many.
    fn taken(pause: u64, times: u16) -> Option<u16> {
        let mut flood = Flood::new();
        let mut now = 0;
        for n in 0..times {
            now += pause;
            flood.begin(now);
            if flood.take() {
                return Some(n);
            }
            now += 80;
            flood.end(now);
        }
        None
    }

    #[test]
    fn who_makes_pauses_is_no_flood() {
        assert_eq!(taken(10, 10_000), None);
        assert_eq!(taken(9, 10_000), Some(LIMIT));
        assert_eq!(taken(0, 10_000), Some(LIMIT));
    }

    #[test]
    fn interrupts_without_handlers_do_not_add_up() {
        let mut flood = Flood::new();
        flood.begin(5);
        flood.end(90);
        for now in 100..10_000 {
            flood.begin(now);
            assert!(!flood.take());
        }
    }

    #[test]
    fn one_go_has_its_limit() {
        let mut flood = Flood::new();
        flood.begin(5);
        assert_eq!((0..LIMIT).filter(|_| flood.take()).count(), 0);
        assert!(flood.take());
        // Nor does what comes next suffer for it.
        assert_eq!((0..LIMIT).filter(|_| flood.take()).count(), 0);
        assert!(flood.take());
        flood.end(6);
        flood.begin(7);
        assert!(!flood.take());
    }
}
