//! Names the reasons why tables stay as they are.

/// The reason why a change was not made; nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// A page has not the leaf that the change starts from, or the region names a page twice.
    Mismatch,
    /// The pool has no page for a table.
    NoMemory,
}
