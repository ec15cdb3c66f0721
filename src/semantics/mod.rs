//! RFC 9110/9111 decisions. Pure: no I/O, no clock, no globals; `now` is an argument.
//!
//! What a request asks and where it goes:
//! - [`request`]: method, directives and target of a request; Max-Forwards.
//! - [`key`]: the bytes that name a stored response; [`vary`]: its selecting header fields;
//!   [`language`]: what else fits Accept-Language; [`search`]: what of a query does not count.
//! - [`cache_control`]: directives of both sides, parsed; [`targeted`]: fields that outrank them.
//! - [`route`]: which rule it meets.
//!
//! What may be done with a response:
//! - [`guard`]: is it a danger to others? [`unkeyed`]: what is dropped from requests before.
//! - [`storable`]: may it be kept? (RFC 9111 §3); [`withheld`]: which of its fields not;
//!   [`stored`]: what is remembered of it.
//! - [`freshness`]: for how long? (§4.2); [`reuse`]: may it answer this request? (§4, RFC 5861)
//! - [`validation`]: what do we ask the origin, what do clients ask us? (§4.3, RFC 9110 §13)
//! - [`range`]: which part was asked for; [`content_range`]: which one came; [`spans`]: what is
//!   covered by parts.
//! - [`invalidation`]: what does a write make void? (§4.4)
//! - [`groups`]: responses that are made void together (RFC 9875); [`tags`]: the same for purges.
//!
//! What is written on the way:
//! - [`headers`]: hop-by-hop fields, Via, Forwarded and its kin; [`coding`]: content codings, and
//!   who gets which; [`encoding`]: what may be coded.
//! - [`cache_status`]: RFC 9211; [`decision`]: the value it is written from;
//!   [`words`]: the same for people.
//! - [`wire`]: where HTTP/1.1 messages begin and end, byte by byte.
//! - [`etag`], [`date`], [`time`], [`digits`]: the small values of HTTP.
//!
//! Called by `proxy::service` and, with the same values, by `larder cache explain`.
//! Hop-by-hop fields of a request are stripped *before* anything here judges it: a selecting
//! field that is judged but not forwarded would let a client choose what is stored for others.

pub mod cache_control;
pub mod cache_status;
pub mod coding;
pub mod content_range;
pub mod date;
pub mod decision;
pub mod digits;
pub mod encoding;
pub mod etag;
pub mod freshness;
pub mod groups;
pub mod guard;
pub mod headers;
pub mod invalidation;
pub mod key;
pub mod language;
pub mod policy;
pub mod range;
pub mod request;
pub mod reuse;
pub mod route;
pub mod search;
pub mod spans;
pub mod storable;
pub mod stored;
pub mod tags;
pub mod targeted;
pub mod time;
pub mod unkeyed;
pub mod validation;
pub mod vary;
pub mod wire;
pub mod withheld;
pub mod words;
