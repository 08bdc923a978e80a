//! What the sources must keep: their layers, and one word for one thing.

mod layers;
mod names;
