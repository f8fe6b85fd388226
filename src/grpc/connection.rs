//! A connection as tonic sees it: every request on it learns who is at the other end.

use tonic::transport::server::Connected;

pub(super) use crate::socket::{Connection, Proxy};

impl Connected for Connection {
    type ConnectInfo = Proxy;

    fn connect_info(&self) -> Proxy {
        self.about().clone()
    }
}
