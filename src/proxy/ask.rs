//! One request as it walks through the house.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, request};
use tokio::sync::Notify;

use crate::proxy::admission::{self, Admitted};
use crate::proxy::conn::Conn;
use crate::proxy::worker::View;
use crate::semantics::coding::{Accepted, Coding};
use crate::semantics::headers::ClientView;
use crate::semantics::key::Scheme;
use crate::semantics::request::Asked;

/// A valid request and what was found out about it.
pub struct Ask {
    /// The configuration that it is answered by: that of its route, if it has met one.
    pub view: Arc<View>,
    /// The connection that it came on.
    pub conn: Arc<Conn>,
    /// Its head as the client sent it, but for hop-by-hop fields.
    pub head: request::Parts,
    /// The protocols that it asks to be upgraded to.
    pub upgrade: Option<HeaderValue>,
    /// What RFC 9111 makes of it.
    pub asked: Asked,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The authority it is addressed to, where that is not what Host says, letter by letter.
    pub authority: Option<String>,
    /// The authority that the client used, where a trusted peer says that it was another one.
    pub said_authority: Option<String>,
    /// The content of a QUERY, once it has been read to be part of the key.
    pub query: Option<Bytes>,
    /// A field was dropped that is no part of the key ([`crate::semantics::unkeyed`]).
    pub dropped: bool,
    /// [`Self::accepted`], once it was asked for.
    pub accepted: OnceLock<Accepted>,
    /// The client waits to be told before it sends its body: told when the origin says so.
    pub expects: Option<Arc<Notify>>,
    /// Its route takes it past the cache, and why.
    pub past_cache: Option<&'static str>,
}

impl Ask {
    /// A request with this head, as it was admitted.
    pub fn new(view: Arc<View>, conn: Arc<Conn>, head: request::Parts, admitted: Admitted) -> Self {
        let Admitted {
            asked,
            upgrade,
            scheme,
            authority,
            said_authority,
            dropped,
            expects,
            routed,
            past_cache,
        } = admitted;
        Self {
            view: routed.unwrap_or(view),
            conn,
            head,
            upgrade,
            asked,
            scheme,
            authority,
            said_authority,
            query: None,
            dropped,
            accepted: OnceLock::new(),
            expects,
            past_cache,
        }
    }

    /// Cookies that are nobody's business make no request personal. Not asked for a hit that does
    /// not depend on it.
    pub fn settle_cookies(&mut self) {
        if self.asked.has_cookie {
            self.asked.has_cookie = self.view.cookies.are_personal(&self.head.headers);
        }
    }

    /// The authority it is addressed to, validated: the Host that is forwarded.
    pub fn authority(&self) -> &str {
        let host = || self.head.headers.get(HOST).and_then(|host| host.to_str().ok());
        self.authority.as_deref().or_else(host).unwrap_or_default()
    }

    /// The cache is asked for it. If-Match and If-Unmodified-Since are the origin's to judge (RFC
    /// 9111 §4.3.2).
    pub fn is_for_the_cache(&self) -> bool {
        let asked = &self.asked;
        asked.is_read()
            && !asked.has_body
            && !asked.has_if_match
            && self.upgrade.is_none()
            && self.past_cache.is_none()
    }

    /// Scheme and authority that the client used.
    pub fn client(&self) -> ClientView<'_> {
        let authority = self.said_authority.as_deref().unwrap_or_else(|| self.authority());
        ClientView { scheme: self.scheme, authority: authority.into() }
    }

    /// The peer's word on the client counts.
    pub fn is_trusted(&self) -> bool {
        admission::trusts(&self.view, &self.conn)
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
