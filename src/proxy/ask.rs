//! One request as it walks through the house.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, request};
use tokio::sync::Notify;

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
    /// The content of a QUERY, which is part of the key.
    pub query: Option<Bytes>,
    /// A field was dropped that is no part of the key ([`crate::semantics::unkeyed`]).
    pub dropped: bool,
    /// [`Self::accepted`], once it was asked for.
    pub accepted: OnceLock<Accepted>,
    /// Body bytes that the client has sent, where there are any.
    pub received: Option<Arc<AtomicU64>>,
    /// The client waits to be told before it sends its body: told when the origin says so.
    pub expects: Option<Arc<Notify>>,
}

impl Ask {
    /// Scheme and authority that the client used.
    pub fn client(&self) -> ClientView<'_> {
        let authority = self.said_authority.as_deref().unwrap_or(&self.authority);
        ClientView { scheme: self.scheme, authority: authority.into() }
    }

    /// What the client takes.
    pub fn accepted(&self) -> Accepted {
        *self.accepted.get_or_init(|| Accepted::of(&self.head.headers))
    }

    /// The coding that the client gets of those which Larder makes and `made` likes. None where a
    /// part is asked for: that is one of what the origin sent.
    pub fn coding(&self, made: impl Fn(Coding) -> bool) -> Option<Coding> {
        if self.asked.has_range || self.asked.no_transform(&self.view.policy) {
            return None;
        }
        let codings = &self.view.snapshot.compression.codings;
        let mut made = codings.iter().copied().filter(|coding| made(*coding)).peekable();
        made.peek()?;
        self.accepted().best(made)
    }

    /// The client cannot take content that the origin has put in `coding`, and may have it without.
    pub fn must_decode(&self, coding: Coding) -> bool {
        self.view.snapshot.compression.max_decoded > 0
            && !self.asked.no_transform(&self.view.policy)
            && !self.accepted().can_take(coding)
    }
}
