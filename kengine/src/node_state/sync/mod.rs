//! The locks, atomics and notifications of a node's state: those of `parking_lot`, std and tokio.
//!
//! In the model checks they are loom's, which runs a check once for each order in which its threads can take their
//! steps, and for each value that an atomic can have by then.

#[cfg(all(test, kengine_model))]
pub(crate) mod model;

#[cfg(all(test, kengine_model))]
pub(crate) use self::model::{HashMap, HashSet, Mutex, MutexGuard, Notify, RandomState, RwLock, atomic, thread_local};

#[cfg(not(all(test, kengine_model)))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
/// The maps whose order decides in which order locks are taken. In the model checks that order is always the same.
#[cfg(not(all(test, kengine_model)))]
pub(crate) use std::collections::{HashMap, HashSet};
#[cfg(not(all(test, kengine_model)))]
pub(crate) use std::hash::RandomState;
#[cfg(not(all(test, kengine_model)))]
pub(crate) use std::sync::atomic;
#[cfg(not(all(test, kengine_model)))]
pub(crate) use std::thread_local;
#[cfg(not(all(test, kengine_model)))]
pub(crate) use tokio::sync::Notify;
