//! Which path leads to which endpoint or page.

use std::{borrow::Cow, collections::HashMap, net::SocketAddr, sync::Arc};

use hyper::{Method, Request, Response, StatusCode, body::Incoming};

use crate::connection::{Access, Endpoint};
use crate::dispatch::Dispatcher;
use crate::http::{Body, Refusal, check_size, target_host};
use crate::node::Node;
use crate::node_state::Count;
use crate::server::any_endpoint::AnyEndpoint;
use crate::server::pages::{Page, readiness};
use crate::server::upgrade::Answered;

/// Everything that a server serves, by path. The user's pages take precedence over `/healthz` and `/readyz`.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) node: Arc<Node>,
    pub(super) access: Arc<Access>,
    pub(super) endpoints: HashMap<Cow<'static, str>, Arc<dyn AnyEndpoint>>,
    pub(super) pages: HashMap<Cow<'static, str>, Page>,
}

impl Routes {
    /// Returns the endpoint at this path, or `first` if there is none: for a server whose path is not its own choice.
    pub(crate) fn endpoint_or<D: Dispatcher>(&self, path: &str, first: &Arc<Endpoint<D>>) -> Arc<dyn AnyEndpoint> {
        self.endpoints.get(path).cloned().unwrap_or_else(|| Arc::clone(first) as _)
    }

    /// Returns the endpoint at this path.
    pub(super) fn endpoint(&self, path: &str) -> Option<&Arc<dyn AnyEndpoint>> {
        self.endpoints.get(path)
    }

    /// Answers a request for a connection or a page.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answered {
        match self.endpoint(request.uri().path()) {
            Some(endpoint) => Arc::clone(endpoint).upgrade(request.map(drop), Some(peer)).await,
            None => self.page(&request).map_or_else(Refusal::into_response, Page::into_response).into(),
        }
    }

    /// Answers a request of an operator or an orchestrator.
    pub(super) fn answer_operator(&self, request: &Request<Incoming>) -> Response<Body> {
        let nothing = || {
            let message = "there is nothing here; the pages are `/healthz` and `/readyz`";
            Refusal::with_status(StatusCode::NOT_FOUND, "not_found", message)
        };
        let page = check_size(request.headers())
            .and_then(|()| target_host(request).map(drop))
            .and_then(|()| self.health(request.uri().path())?.ok_or_else(nothing))
            .and_then(|page| check_method(request, page));
        page.map_or_else(Refusal::into_response, Page::into_response)
    }

    /// Returns the counts and the name of each route, over all endpoints.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Count, &'static str)> {
        self.endpoints.values().flat_map(|endpoint| endpoint.counts())
    }

    fn page(&self, request: &Request<Incoming>) -> Result<Page, Refusal> {
        check_size(request.headers())?;
        target_host(request)?;
        let path = request.uri().path();
        let page = match self.pages.get(path) {
            Some(page) => page.clone(),
            None => self.health(path)?.ok_or_else(|| self.not_found())?,
        };
        check_method(request, page)
    }

    /// Returns the page for orchestrators at this path, if there is one.
    fn health(&self, path: &str) -> Result<Option<Page>, Refusal> {
        match path {
            "/healthz" => Ok(Some(Page::text("ok\n"))),
            "/readyz" => readiness(&self.node).map(Some),
            _ => Ok(None),
        }
    }

    fn not_found(&self) -> Refusal {
        let mut paths: Vec<_> = self.endpoints.keys().map(|path| format!("`{path}`")).collect();
        paths.sort_unstable();
        let message = format!("there is nothing here; the WebSocket is at {}", paths.join(" and "));
        Refusal::with_status(StatusCode::NOT_FOUND, "not_found", message)
    }
}

/// Returns the page if the method may read it.
fn check_method(request: &Request<Incoming>, page: Page) -> Result<Page, Refusal> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(page),
        _ => Err(Refusal::method_not_allowed("GET, HEAD")),
    }
}
