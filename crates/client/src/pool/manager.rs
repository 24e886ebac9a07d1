//! `Manager`: what a pool has to know about the connections that it keeps.

use super::error::PoolError;

/// Makes, checks and cleans connections of one kind to one service. The pool calls it without holding a lock, on the
/// fiber or thread of whoever wants a connection or gives one back, so it may wait, and its waits end with that task's.
///
/// ```
/// use std::io;
/// use tenfold_client::pool::{Manager, Pool};
/// use tenfold_runtime::net::{TcpListener, TcpStream};
///
/// struct Echo(std::net::SocketAddr);
///
/// impl Manager for Echo {
///     type Connection = TcpStream;
///     type Error = Box<dyn std::error::Error + Send + Sync>;
///
///     fn name(&self) -> &str {
///         "echo"
///     }
///
///     fn connect(&self) -> Result<TcpStream, Self::Error> {
///         Ok(TcpStream::connect(self.0)?)
///     }
///
///     fn reset(&self, stream: &mut TcpStream) -> Result<(), Self::Error> {
///         stream.socket().rest(); // another loop may use it next
///         Ok(())
///     }
/// }
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let pool = Pool::new(Echo(listener.local_addr()?));
/// let stream = pool.get()?;
/// drop(stream); // back to the pool
/// assert_eq!(pool.stats().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// What getting a connection fails with; a refusal of the pool becomes one too. `Box<dyn Error + Send + Sync>` will do.
    type Error: From<PoolError>;

    /// The service, for errors, logs and metrics: `redis 127.0.0.1:6379`. No secrets.
    fn name(&self) -> &str;

    /// Opens a connection.
    ///
    /// # Errors
    /// Handed to whoever asked for the connection; its place in the pool is free again.
    fn connect(&self) -> Result<Self::Connection, Self::Error>;

    /// Whether a connection that has idled still works; asked before it is handed out.
    ///
    /// # Errors
    /// The connection is closed and another one opened in its place. The caller does not see it.
    fn check(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Puts a connection that comes back in order for the next user, who may be on another loop: [`leave`] is to be called
    /// on its socket. Not called for what was discarded anyway, so it need not be cheap, but most returns should not wait.
    ///
    /// # Errors
    /// The connection is closed: the way to say that it is in the middle of something.
    ///
    /// [`leave`]: tenfold_runtime::net::Socket::leave
    fn reset(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }
}
