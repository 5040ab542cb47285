//! Work that runs in parallel, as far as the machine has processors for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Returns how many boots may run at the same time. A boot with several PEs uses more than one
/// processor, but seldom all of them for long.
pub fn boots_at_a_time() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    processors.min((processors / 2).max(2))
}

/// Does `work` for each item, for `at_a_time` items at the same time, in the order of the items.
/// Returns the results in that order.
pub fn for_each<T: Sync, R: Send>(
    items: &[T],
    at_a_time: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let worker = || {
        while let Some((index, item)) = take(items, &next) {
            let result = work(item);
            let mut results = results
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            results.push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(worker);
        }
    });
    let results = results.into_inner();
    let mut results = results.unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Takes the next item that no thread has taken.
fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, items.get(index)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for at_a_time in 1..4 {
            let items: Vec<usize> = (0..100).collect();
            let doubled = for_each(&items, at_a_time, |item| {
                thread::yield_now();
                item * 2
            });
            assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn two_work_at_the_same_time() {
        let both = std::sync::Barrier::new(2);
        let items = [(), ()];
        // The call returns only if both items run at the same time.
        assert_eq!(for_each(&items, 2, |()| both.wait().is_leader()).len(), 2);
    }
}
