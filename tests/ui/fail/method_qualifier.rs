#[ipc_rpc::service]
pub trait Store {
    async unsafe fn peek(&self, address: usize) -> u8;
    #[rpc(blocking)]
    extern "C" fn call(&self);
}

fn main() {}
