//! An endpoint together with the access rules of its server.

use std::{fmt, sync::Arc};

use crate::connection::Endpoint;
use crate::http::{Origins, Proxies};

/// Which requests may become connections, and which proxies may report where requests come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
}

/// An endpoint that is protected by the access rules of its server.
pub(crate) struct Guarded<D> {
    pub(crate) endpoint: Arc<Endpoint<D>>,
    pub(crate) access: Arc<Access>,
}

impl<D> Clone for Guarded<D> {
    fn clone(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), access: Arc::clone(&self.access) }
    }
}

impl<D> fmt::Debug for Guarded<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
