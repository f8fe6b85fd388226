//! What the room promises, by file.

mod spiffe_id;
