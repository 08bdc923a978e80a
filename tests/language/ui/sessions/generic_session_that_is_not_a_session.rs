struct Bad<T>(T);

struct Game<T>(T);

#[kengine::dispatcher]
impl<T: Default + Send + Sync + 'static> Game<T> {
    #[accept]
    async fn enter(&self) -> Result<Bad<T>, kengine::Refusal> {
        Ok(Bad(T::default()))
    }
}

fn main() {}
