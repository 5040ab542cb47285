//! The reasons for which a change fails.

/// The reason why a change failed, which has changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// A page does not have the leaf that the change expects, or the region names a page twice.
    Mismatch,
    /// The pool has no page for a table.
    NoMemory,
}
