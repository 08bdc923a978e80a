//! What several fuzz targets share.

pub mod frames;
pub mod http;
pub mod json;
pub mod peer;
pub mod pieces;
pub mod script;
pub mod words;
