use kengine::{accept, before, close, open};

#[accept]
async fn enter() {}

#[open]
async fn greet() {}

#[close]
async fn leave() {}

#[before]
async fn guard() {}

fn main() {}
