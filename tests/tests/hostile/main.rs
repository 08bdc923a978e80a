//! Hostile clients: what each misbehaviour gets, alone and beside honest players, and what it costs the node.
#![cfg(target_os = "linux")]

mod alone;
mod envelopes;
mod figures;
mod floods;
mod frames;
mod handshakes;
mod honest;
mod rooms;
mod row;
mod together;
mod waits;

use row::Row;

/// Returns every misbehaviour. The uids of each copy are its own.
fn every_misbehaviour(copy: usize) -> Vec<Row> {
    let tables = [handshakes::rows, frames::rows, envelopes::rows, rooms::rows, floods::rows, waits::rows];
    tables.into_iter().flat_map(|rows| rows(copy)).collect()
}
