//! One request as it walks through the house.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::{HeaderValue, request};

use crate::proxy::conn::Conn;
use crate::proxy::worker::View;
use crate::semantics::coding::{Accepted, Coding};
use crate::semantics::headers::ClientView;
use crate::semantics::key::Scheme;
use crate::semantics::request::Asked;

/// A valid request and what was found out about it.
pub struct Ask {
    /// The configuration that it is answered by.
    pub view: Arc<View>,
    /// The connection that it came on.
    pub conn: Arc<Conn>,
    /// Its head as the client sent it, but for hop-by-hop fields.
    pub head: request::Parts,
    /// The protocols that it asks to be upgraded to.
    pub upgrade: Option<HeaderValue>,
    /// What RFC 9111 makes of it.
    pub asked: Asked,
    /// The authority it is addressed to, validated: the Host that is forwarded.
    pub authority: String,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The authority that the client used, where a trusted peer says that it was another one.
    pub said_authority: Option<String>,
    /// The peer's word on the client counts.
    pub trusted: bool,
    /// A field was dropped that is no part of the key ([`crate::semantics::unkeyed`]).
    pub dropped: bool,
    /// Body bytes that the client has sent, where there are any.
    pub received: Option<Arc<AtomicU64>>,
}

impl Ask {
    /// Scheme and authority that the client used.
    pub fn client(&self) -> ClientView<'_> {
        let authority = self.said_authority.as_deref().unwrap_or(&self.authority);
        ClientView { scheme: self.scheme, authority: authority.into() }
    }

    /// The client takes gzip, and would not mind: a part is asked for in the origin's coding.
    pub fn takes_gzip(&self) -> bool {
        !self.asked.has_range && Accepted::of(&self.head.headers).prefers(Coding::Gzip)
    }
}
