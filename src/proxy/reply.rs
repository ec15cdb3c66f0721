//! What the data plane gives the server for a request.

use std::pin::Pin;

use http::Response;

/// An answer, or who will have it. What memory answers takes no future: hyper would move one
/// about for every request, as large as all that the way to the origin needs.
pub enum Reply<B> {
    /// Here it is.
    Now(Response<B>),
    /// Dropped midway when the client leaves or a drain's deadline has passed.
    Later(Pin<Box<dyn Future<Output = Response<B>> + Send>>),
}
