//! Finds the source of secure interrupts that floods a PE, so that its handlers cannot keep the PE
//! from others for ever.
//!
//! Interrupts are counted as long as handlers hardly leave the PE to others. When there are too
//! many, the source that came most often is masked, of the partition whose handlers took most of
//! the time. Sources of other partitions are not masked, however often they came. Time is compared
//! with time only, so the unit does not matter.

use alloc::boxed::Box;

use super::Line;

/// Interrupts that may come without a pause.
const LIMIT: u16 = 256;

/// A pause is this part of the time that the handlers before it took, or longer.
const PAUSE: u64 = 8;

/// An interrupt of a partition: the index of that, and its line.
pub type Source = (usize, Line);

/// The record of one partition since the last pause.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// The time that its handlers took.
    spent: u64,
    /// The part of that time since a source was masked.
    time: u64,
    /// The line of it that came in more than half of the cases, if there is one, and the votes for
    /// it.
    line: Line,
    votes: u16,
}

impl Share {
    const NONE: Self = Self {
        spent: 0,
        time: 0,
        line: Line::FIRST,
        votes: 0,
    };

    /// Returns a measure of how much its partition is to blame.
    fn blame(&self) -> (u64, u16) {
        (self.time, self.votes)
    }

    /// Counts `line`. Each vote takes one of another line away, so that the one with more than all
    /// others together is left.
    fn vote(&mut self, line: Line) {
        if self.votes == 0 {
            self.line = line;
        }
        self.votes = if self.line == line {
            self.votes.saturating_add(1)
        } else {
            self.votes.saturating_sub(1)
        };
    }
}

/// The memory of one PE.
#[derive(Debug)]
pub struct Flood {
    taken: u16,
    began: u64,
    ended: u64,
    /// By index of the partition. None has a share unless `is_crowded`.
    shares: Box<[Share]>,
    /// More than one interrupt came without a pause, or handlers ran again without one.
    is_crowded: bool,
    /// Handlers ended because others had to go on for a moment, not because there were no more:
    /// what comes then is no pause.
    is_cut_off: bool,
}

impl Flood {
    /// Bytes that are allocated for each partition.
    pub const PARTITION_SIZE: usize = size_of::<Share>();

    /// Nothing was handled yet, of that many partitions.
    pub fn new(partitions: usize) -> Self {
        Self {
            taken: 0,
            began: 0,
            ended: 0,
            shares: (0..partitions).map(|_| Share::NONE).collect(),
            is_crowded: false,
            is_cut_off: false,
        }
    }

    /// Handlers begin at the time `now`, if there are any: for interrupts of whoever runs they do
    /// not end either.
    #[inline]
    pub fn begin(&mut self, now: u64) {
        let pause = now.wrapping_sub(self.ended);
        let busy = self.ended.wrapping_sub(self.began);
        if self.is_cut_off || self.began < self.ended && pause < busy / PAUSE {
            self.is_crowded = true;
            self.is_cut_off = false;
        } else {
            self.taken = 0;
            if self.is_crowded {
                self.forget();
            }
        }
        self.began = now;
    }

    /// A handler of the partition with that index ends.
    pub fn end(&mut self, partition: usize, now: u64) {
        if self.is_crowded
            && let Some(share) = self.shares.get_mut(partition)
        {
            let took = now.wrapping_sub(self.began.max(self.ended));
            share.time = share.time.saturating_add(took);
            share.spent = share.spent.saturating_add(took);
        }
        self.ended = now;
    }

    /// Returns the time that handlers of the partition with that index took since the last pause,
    /// whatever was masked meanwhile: its owner may have enabled that again.
    pub fn spent(&self, partition: usize) -> u64 {
        let share = self.shares.get(partition);
        share.map_or(0, |share| share.spent)
    }

    /// Handlers end although there are more.
    pub fn cut_off(&mut self) {
        self.is_cut_off = true;
    }

    /// Counts an interrupt. Returns whether the limit is exceeded; then [`Self::culprit`] must be
    /// called.
    pub fn take(&mut self, (partition, line): Source) -> bool {
        self.is_crowded |= self.taken != 0;
        if self.is_crowded
            && let Some(share) = self.shares.get_mut(partition)
        {
            share.vote(line);
        }
        self.taken = self.taken.wrapping_add(1);
        self.taken > LIMIT
    }

    /// Returns the source that is to be masked, if one is to blame, at the time `now`, with the
    /// handler of that partition under way. Counting begins anew.
    #[cold]
    pub fn culprit(&mut self, handler: Option<usize>, now: u64) -> Option<Source> {
        if let Some(partition) = handler {
            self.end(partition, now);
        }
        let shares = self.shares.iter().enumerate();
        let worst = shares.max_by_key(|(_, share)| share.blame())?;
        let source = (worst.1.votes != 0).then_some((worst.0, worst.1.line));
        self.taken = 0;
        for share in &mut self.shares {
            *share = Share {
                spent: share.spent,
                ..Share::NONE
            };
        }
        source
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self) {
        self.shares.fill(Share::NONE);
        self.is_crowded = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Line = Line(3);
    const B: Line = Line(4);

    /// Plays interrupts of these sources in turn, whose handlers take the given times, with pauses
    /// between them. Returns how many came before the limit was exceeded, and which source is to be
    /// masked.
    fn masked(pause: u64, sources: &[(Source, u64)]) -> Option<(u16, Option<Source>)> {
        let mut flood = Flood::new(8);
        let mut now = 0;
        let all = sources.iter().cycle().take(10_000);
        for (n, (source, time)) in (0..).zip(all) {
            now += pause;
            flood.begin(now);
            if flood.take(*source) {
                return Some((n, flood.culprit(None, now)));
            }
            now += time;
            flood.end(source.0, now);
        }
        None
    }

    #[test]
    fn who_makes_pauses_is_no_flood() {
        let source = (0, A);
        assert_eq!(masked(10, &[(source, 80)]), None);
        assert_eq!(masked(9, &[(source, 80)]), Some((LIMIT, Some(source))));
        assert_eq!(masked(0, &[(source, 80)]), Some((LIMIT, Some(source))));
    }

    // The owner of the interrupt that exceeds the limit does not matter.
    #[test]
    fn the_partition_that_took_most_of_the_time_is_to_blame() {
        for position in 0..4 {
            let mut sources = [((0, A), 80); 4];
            sources[position] = ((1, A), 80);
            assert_eq!(masked(0, &sources), Some((LIMIT, Some((0, A)))));
            // Few long handlers take more time than many short ones.
            sources[position].1 = 1000;
            assert_eq!(masked(0, &sources), Some((LIMIT, Some((1, A)))));
        }
    }

    #[test]
    fn the_line_of_it_that_came_most_often_is_masked() {
        let sources = [((0, B), 80), ((0, A), 80), ((0, B), 80)];
        assert_eq!(masked(0, &sources), Some((LIMIT, Some((0, B)))));
    }

    #[test]
    fn who_has_no_interrupts_cannot_be_masked_and_nobody_is_in_its_place() {
        let mut flood = Flood::new(8);
        for now in (0..3000).step_by(10) {
            flood.begin(now);
            if flood.take((1, A)) {
                assert_eq!(flood.culprit(None, now), None);
                return;
            }
            // The other partition keeps its handlers busy with interrupts between its own contexts,
            // which do not count.
            flood.end(0, now + 9);
            flood.end(1, now + 10);
        }
        panic!("it came often enough");
    }

    // Otherwise a handler that raises interrupts of another partition would never be to blame.
    #[test]
    fn the_time_of_a_handler_under_way_counts() {
        let mut flood = Flood::new(8);
        flood.begin(0);
        for n in 0..LIMIT {
            assert!(!flood.take(if n == 1 { (0, B) } else { (1, A) }));
        }
        assert!(flood.take((1, A)));
        assert_eq!(flood.culprit(Some(0), 10), Some((0, B)));
    }

    #[test]
    fn what_was_before_a_pause_is_forgotten() {
        let mut flood = Flood::new(8);
        let mut now = 0;
        let mut comes = |source: Source, count: u16, time: u64| {
            for _ in 0..count {
                flood.begin(now);
                if flood.take(source) {
                    return flood.culprit(None, now);
                }
                now += time;
                flood.end(source.0, now);
            }
            now += 10_000_000;
            None
        };
        assert_eq!(comes((0, A), LIMIT, 10_000), None);
        assert_eq!(comes((1, B), LIMIT + 1, 100), Some((1, B)));
    }

    // A single interrupt is cheap, too: the records of the partitions need not be searched.
    #[test]
    fn one_at_a_time_leaves_nothing_noted() {
        let mut flood = Flood::new(8);
        let is_clean = |flood: &Flood| {
            !flood.is_crowded && flood.shares.iter().all(|share| share.blame() == (0, 0))
        };
        for n in 0..1000 {
            let now = n * 1_000_000;
            flood.begin(now);
            assert!(!flood.take((0, A)) && is_clean(&flood), "{n}");
            flood.end(0, now + 1000);
            assert!(is_clean(&flood), "{n}");
        }
        // A flood that comes afterwards is counted from its own beginning.
        let mut now = 1_000_000_000;
        for _ in 0..LIMIT {
            flood.begin(now);
            assert!(!flood.take((0, B)));
            now += 100;
            flood.end(0, now);
        }
        flood.begin(now);
        assert!(flood.take((0, B)) && !is_clean(&flood));
        assert_eq!(flood.culprit(None, now), Some((0, B)));
        flood.begin(2_000_000_000);
        assert!(is_clean(&flood));
    }

    // Whoever is masked may enable its source again, and go on.
    #[test]
    fn the_time_without_a_pause_adds_up_whatever_is_masked() {
        let mut flood = Flood::new(8);
        let (mut now, mut masked) = (0, 0);
        for _ in 0..4 * u64::from(LIMIT) {
            flood.begin(now);
            if flood.take((1, A)) {
                assert_eq!(flood.culprit(None, now), Some((1, A)));
                masked += 1;
            }
            now += 100;
            flood.end(1, now);
        }
        assert!(masked >= 3);
        // The first handler came after a pause.
        assert_eq!([0, 1].map(|n| flood.spent(n)), [0, now - 100]);
        for (pause, spent) in [(11, now - 100), (12, 0)] {
            let mut flood = Flood {
                shares: flood.shares.clone(),
                ..flood
            };
            flood.begin(now + pause);
            assert_eq!(flood.spent(1), spent, "{pause}");
        }
    }

    // Handlers may also run again for other reasons than interrupts of devices.
    #[test]
    fn the_time_of_handlers_counts_from_the_first_that_follows_without_a_pause() {
        let mut flood = Flood::new(8);
        let mut now = 0;
        let mut handles = |partition, time, comes: Option<Line>| {
            flood.begin(now);
            let is_one_too_many = comes.is_some_and(|line| flood.take((partition, line)));
            if is_one_too_many {
                return flood.culprit(None, now);
            }
            now += time;
            flood.end(partition, now);
            None
        };
        handles(0, 10, None);
        handles(0, 10_000, None);
        handles(0, 10, Some(A));
        handles(0, 10, Some(A));
        for _ in 2..LIMIT {
            assert_eq!(handles(1, 10, Some(B)), None);
        }
        assert_eq!(handles(1, 10, Some(B)), Some((0, A)));
    }

    #[test]
    fn the_time_of_one_flood_is_nobody_s_fault_in_the_next() {
        let mut flood = Flood::new(8);
        let mut now = 0;
        for (source, time) in [((0, A), 1000), ((1, B), 10)] {
            for _ in 0..LIMIT {
                flood.begin(now);
                assert!(!flood.take(source));
                now += time;
                flood.end(source.0, now);
            }
            flood.begin(now);
            assert!(flood.take(source));
            assert_eq!(flood.culprit(None, now), Some(source));
        }
    }

    #[test]
    fn interrupts_without_handlers_do_not_add_up() {
        let mut flood = Flood::new(8);
        flood.begin(5);
        flood.end(0, 90);
        for now in 100..10_000 {
            flood.begin(now);
            assert!(!flood.take((0, A)));
        }
    }

    // The source is never cleared, and its handlers take less time than it takes to let others go
    // on in between.
    #[test]
    fn a_moment_for_others_is_no_pause() {
        let mut flood = Flood::new(8);
        for n in 0..LIMIT {
            let now = u64::from(n) * 100;
            flood.begin(now);
            assert!(!flood.take((0, A)));
            flood.end(0, now + 1);
            flood.cut_off();
        }
        flood.begin(1_000_000);
        assert!(flood.take((0, A)));
        assert_eq!(flood.culprit(None, 1_000_000), Some((0, A)));
    }

    #[test]
    fn one_go_has_its_limit() {
        let mut flood = Flood::new(8);
        flood.begin(5);
        for line in [A, B] {
            assert!((0..LIMIT).all(|_| !flood.take((0, line))));
            assert!(flood.take((0, line)));
            // Once a line is masked, the count begins anew.
            assert_eq!(flood.culprit(None, 5), Some((0, line)));
        }
        flood.end(0, 6);
        flood.begin(7);
        assert!(!flood.take((0, A)));
    }
}
