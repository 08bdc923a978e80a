use kengine::{Context, FromContext};
use serde::{Serialize, de::DeserializeOwned};

trait Db: Send + Sync + 'static {
    type Row: Serialize + Send;
    fn load(&self, id: u64) -> impl Future<Output = Option<Self::Row>> + Send;
}

struct Game<D, const SIZE: usize = 4> {
    db: D,
}

#[kengine::dispatcher]
impl<D: Db, const SIZE: usize> Game<D, SIZE>
where
    D::Row: Clone,
{
    #[route]
    async fn load(&self, id: u64) -> Option<D::Row> {
        self.db.load(id).await
    }

    #[route]
    #[cfg(test)]
    async fn size(&self) -> usize {
        SIZE
    }
}

struct Typed<C, M>(std::marker::PhantomData<fn() -> (C, M)>);

#[kengine::dispatcher]
impl<C, M> Typed<C, M>
where
    C: for<'a> FromContext<'a, ()> + Send + 'static,
    M: DeserializeOwned + Serialize + Send + 'static,
{
    #[route]
    async fn echo(&self, _: C, message: M) -> M {
        message
    }
}

struct Memory;

impl Db for Memory {
    type Row = String;

    async fn load(&self, id: u64) -> Option<String> {
        Some(id.to_string())
    }
}

struct Any;

impl<S> FromContext<'_, S> for Any {
    type Error = kengine::Error;

    fn from_context(_: Context<'_, S>) -> kengine::Result<Self> {
        Ok(Self)
    }
}

fn serve<D: kengine::Dispatcher>(_: D) {}

#[test]
fn the_forms_do_what_they_say() {
    serve(Game::<_, 3> { db: Memory });
    serve(Typed::<Any, String>(std::marker::PhantomData));
}
