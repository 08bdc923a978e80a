//! The gate through which sends of this node pass, if it hands sessions over.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is sent passes this gate: from the first connection of this node that gets it until it is queued for the bus. So
/// whoever closes the gate finds every send either delivered here and queued for the bus, or neither of the two. What the
/// bus brings passes it too, while it is delivered here.
///
/// The gate is locked before anything else. A node that hands nothing over has none.
#[derive(Debug)]
pub(crate) struct SendGate(Option<RwLock<()>>);

impl SendGate {
    pub(crate) fn new(hands_over: bool) -> Self {
        Self(hands_over.then(RwLock::default))
    }

    /// Keeps the gate open while the guard exists. A thread may pass several times at once.
    #[inline]
    pub(crate) fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.0.as_ref().map(RwLock::read_recursive)
    }

    /// Waits until nothing passes, and keeps the gate closed while the guard exists.
    pub(crate) fn close(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.as_ref().map(RwLock::write)
    }
}
