//! What the macros say is tested in `tests/`; here is nothing.
