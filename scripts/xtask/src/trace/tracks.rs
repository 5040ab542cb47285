//! Who had which PE when, as slices that nest, and the messages between them: what a picture of a
//! trace shows.

use std::collections::HashMap;

use super::calls::Who;
use super::record::Record;

/// The reason for a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The call at that place of the list of calls.
    Call(usize),
    /// Execution of a partition, or of the SPMC.
    Run(Who),
}

/// A part of the time of a PE. Slices of a PE nest or follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    pub pe: usize,
    pub start: u64,
    pub end: u64,
    pub subject: Subject,
}

/// A place in the picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    pub pe: usize,
    pub time: u64,
}

/// The slices of all PEs, and direct messages from where they were sent to where they arrived.
#[derive(Default)]
pub struct Tracks {
    pub slices: Vec<Slice>,
    pub messages: Vec<(Point, Point)>,
    /// The slices of each PE that have not ended, the outer ones first.
    open: HashMap<usize, Vec<Slice>>,
    /// Messages under way, by PE: a message arrives on the PE that sends it.
    sent: HashMap<usize, Point>,
}

impl Tracks {
    /// Begins the slice of a call.
    pub fn begin(&mut self, record: &Record, call: usize) {
        // The caller does not run during its call.
        self.stop(record);
        self.push(record, Subject::Call(call));
    }

    /// Ends the slice of a call, and those inside. Does nothing if the call is not on this PE.
    pub fn end(&mut self, record: &Record, call: usize) {
        let open = self.open.entry(record.pe).or_default();
        if let Some(depth) = open
            .iter()
            .position(|slice| slice.subject == Subject::Call(call))
        {
            let ended = open.drain(depth..);
            self.slices.extend(ended.map(|slice| Slice {
                end: record.time,
                ..slice
            }));
        }
    }

    /// Begins to show who executes on the PE.
    pub fn run(&mut self, record: &Record, who: Who) {
        self.stop(record);
        self.push(record, Subject::Run(who));
    }

    /// Ends what [`Tracks::run`] began last, if that goes on.
    pub fn stop(&mut self, record: &Record) {
        let open = self.open.entry(record.pe).or_default();
        if let Some(Slice {
            subject: Subject::Run(_),
            ..
        }) = open.last()
        {
            let ended = open.pop().into_iter();
            self.slices.extend(ended.map(|slice| Slice {
                end: record.time,
                ..slice
            }));
        }
    }

    fn push(&mut self, record: &Record, subject: Subject) {
        let slice = Slice {
            pe: record.pe,
            start: record.time,
            end: record.time,
            subject,
        };
        self.open.entry(record.pe).or_default().push(slice);
    }

    /// Notes that a direct message is sent.
    pub fn send(&mut self, record: &Record) {
        let point = Point {
            pe: record.pe,
            time: record.time,
        };
        self.sent.insert(record.pe, point);
    }

    /// Notes that the message that was last sent on the PE arrives.
    pub fn arrive(&mut self, record: &Record) {
        if let Some(from) = self.sent.remove(&record.pe) {
            let to = Point {
                pe: record.pe,
                time: record.time,
            };
            self.messages.push((from, to));
        }
    }

    /// Ends all that goes on, and puts the slices in order: by their start, the outer ones first.
    pub fn finish(&mut self, time: u64) {
        for slice in self.open.drain().flat_map(|(_, open)| open) {
            self.slices.push(Slice { end: time, ..slice });
        }
        self.slices
            .sort_by_key(|slice| (slice.start, std::cmp::Reverse(slice.end)));
    }
}
