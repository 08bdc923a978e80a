pub(crate) mod argument;
pub(crate) mod composition;
pub(crate) mod reply;
pub(crate) mod request;
