//! What a borrower does: retrieve, map, relinquish. Also used between the two partitions.
