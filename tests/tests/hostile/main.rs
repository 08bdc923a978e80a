//! Hostile clients: what each misbehaviour gets, alone and beside honest players, what it costs the node, and what a
//! long load of everything leaves behind.
#![cfg(target_os = "linux")]

mod alone;
mod envelopes;
mod figures;
mod floods;
mod frames;
mod handshakes;
mod honest;
mod node;
mod rooms;
mod row;
mod soak;
mod together;
mod visitors;
mod waits;

use row::Row;

/// Returns every misbehaviour. The uids of each copy are its own.
fn every_misbehaviour(copy: usize) -> Vec<Row> {
    let tables = [handshakes::rows, frames::rows, envelopes::rows, rooms::rows, floods::rows, waits::rows];
    tables.into_iter().flat_map(|rows| rows(copy)).collect()
}
