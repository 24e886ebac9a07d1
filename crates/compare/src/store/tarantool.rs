//! Tarantool as the store of `cycle`: one space that is asked by its primary key, over one shared connection.

use std::io;

use tenfold_client::tarantool::{Client, Select};

/// Makes the space where it is not there; what was in it goes.
const CREATE: &str = "local space = box.schema.space.create('tenfold_compare', {if_not_exists = true}) \
    space:create_index('primary', {if_not_exists = true}) space:truncate()";

/// `[user[:password]@]host:port`. Opens nothing.
pub(super) fn open(address: &str) -> io::Result<Client> {
    let (user, address) = address.rsplit_once('@').map_or((None, address), |(user, host)| (Some(user), host));
    let mut builder = Client::builder(address).map_err(io::Error::other)?;
    if let Some(user) = user {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        builder = builder.credentials(name, password);
    }
    Ok(builder.build())
}

pub(super) fn get(client: &Client, id: u64) -> io::Result<Option<Vec<u8>>> {
    let space = client.space("tenfold_compare").map_err(io::Error::other)?;
    let found: Vec<(u64, String)> =
        space.select(Select::index(0).limit(1), &(id,)).map_err(io::Error::other)?;
    Ok(found.into_iter().next().map(|(_, item)| item.into_bytes()))
}

pub(super) fn fill(client: &Client, items: impl Iterator<Item = (u64, Vec<u8>)>) -> io::Result<()> {
    let fill = || {
        client.eval::<()>(CREATE, &())?;
        let space = client.space("tenfold_compare")?;
        for (id, item) in items {
            space.replace::<(u64, String)>(&(id, String::from_utf8_lossy(&item)))?;
        }
        Ok::<_, tenfold_client::Error>(())
    };
    fill().map_err(io::Error::other)
}
