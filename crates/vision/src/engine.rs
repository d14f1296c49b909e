//! Loads ONNX Runtime once per process and opens the models in it.

use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use ort::{AsPointer, ep};

use crate::models::{Installed, Model};
use crate::{Error, FaceDetector, FaceRecognizer};

/// ONNX Runtime 1.31 reports to its maker, and keeps a database for that in the user's cache, unless
/// this variable says not to. (Its API's own switch comes too late.)
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Keeps ONNX Runtime from reporting to its maker, in this process and those it starts. To be called
/// first thing in `main`; [`Engine::load`] refuses to work without.
///
/// # Errors
/// [`Error::Engine`] when there are other threads already: they may be reading the environment.
pub fn forbid_telemetry() -> Result<(), Error> {
    if is_telemetry_off() {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map_err(failed)?.count();
    if threads != 1 {
        return Err(failed(format!("{NO_TELEMETRY} must be set before threads are started")));
    }
    // SAFETY: this is the only thread of the process, so nobody reads the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(NO_TELEMETRY, "1");
    }
    Ok(())
}

fn is_telemetry_off() -> bool {
    std::env::var_os(NO_TELEMETRY).is_some_and(|value| value == "1")
}

/// ONNX Runtime allows one environment in the life of a process, so it stays once it is there.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The loaded runtime and where the models are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    environment: Environment,
    installed: Installed,
}

impl Engine {
    /// Loads the runtime library. All engines of a process share the library that was loaded first.
    ///
    /// # Errors
    /// [`Error::Engine`] when the library cannot be loaded or is too old, or would report to its
    /// maker: see [`forbid_telemetry`].
    pub fn load(installed: &Installed) -> Result<Self, Error> {
        if !is_telemetry_off() {
            return Err(failed(format!(
                "set {NO_TELEMETRY}=1: ONNX Runtime would report to its maker"
            )));
        }
        let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        let environment = match &*slot {
            Some(environment) => environment.clone(),
            None => {
                let library = installed.path(Model::Runtime);
                let builder = ort::init_from(library).map_err(failed)?;
                let builder = builder.with_name("garim").with_telemetry(false);
                let environment = builder.build().map_err(failed)?;
                environment.set_log_level(LogLevel::Error);
                share_arena(&environment)?;
                slot.insert(environment).clone()
            }
        };
        Ok(Self { environment, installed: installed.clone() })
    }

    /// A detector for one thread.
    ///
    /// # Errors
    /// [`Error::WrongHash`], [`Error::Io`] or [`Error::Engine`] when a model cannot be opened.
    pub fn detector(&self) -> Result<FaceDetector, Error> {
        Ok(FaceDetector::new(self.session(Model::YuNet)?, self.session(Model::CenterFace)?))
    }

    /// A recogniser for one thread.
    ///
    /// # Errors
    /// [`Error::WrongHash`], [`Error::Io`] or [`Error::Engine`] when the model cannot be opened.
    pub fn recognizer(&self) -> Result<FaceRecognizer, Error> {
        Ok(FaceRecognizer::new(self.session(Model::SFace)?))
    }

    /// One session per thread: ONNX Runtime's `Run` is documented as thread-safe, but the binding
    /// takes `&mut` because it was seen not to be.
    fn session(&self, model: Model) -> Result<Session, Error> {
        let bytes = self.installed.read(model)?;
        let cpu = ep::CPU::default().with_arena_allocator(true).build();
        Session::builder(&self.environment)
            .map_err(failed)?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(failed)?
            .with_intra_threads(1)
            .map_err(failed)?
            .with_intra_op_spinning(false)
            .map_err(failed)?
            .with_memory_pattern(false)
            .map_err(failed)?
            .with_log_level(LogLevel::Error)
            .map_err(failed)?
            .with_execution_providers([cpu])
            .map_err(failed)?
            .with_env_allocators()
            .map_err(failed)?
            .commit_from_memory(&bytes)
            .map_err(failed)
    }
}

/// Gives all sessions of the process one arena for what they compute with.
///
/// With an arena YuNet at 640 takes 6.2 ms instead of 7.5; inputs are bounded by the tiles, so what it keeps is too. An arena
/// of its own for each session, which is what sessions have by themselves, takes as much as all of them need: a live
/// channel that shows somebody had 305 MiB with them and has 273 with this one, and a job on two cores 451 and 332, in
/// the same time.
fn share_arena(environment: &Environment) -> Result<(), Error> {
    let (device, arena) = (AllocationDevice::CPU, AllocatorType::Arena);
    let memory = MemoryInfo::new(device, 0, arena, MemoryType::Default).map_err(failed)?;
    let register = ort::api().CreateAndRegisterAllocator;
    // SAFETY: the environment and the description of the memory are alive during the call, which copies the latter. No
    // configuration means the usual one. The arena belongs to the environment, which is never released. The status is
    // what the call gave, and is looked at once.
    #[allow(unsafe_code)]
    let registered = unsafe {
        let status = register(environment.ptr().cast_mut(), memory.ptr(), std::ptr::null());
        ort::Error::result_from_status(status)
    };
    registered.map_err(failed)
}

/// Runs a model on one picture: three planes of `width` x `height` floats.
pub(crate) fn run<'s>(
    session: &'s mut Session,
    picture: &[f32],
    width: usize,
    height: usize,
) -> Result<SessionOutputs<'s>, Error> {
    let shape = [1, 3, height as i64, width as i64];
    let input = TensorRef::from_array_view((shape, picture)).map_err(failed)?;
    session.run(ort::inputs![input]).map_err(failed)
}

/// The numbers of output `name`.
pub(crate) fn output<'o>(outputs: &'o SessionOutputs<'_>, name: &str) -> Result<&'o [f32], Error> {
    let value = outputs.get(name).ok_or_else(|| Error::Engine(format!("no output {name}")))?;
    value.try_extract_tensor::<f32>().map(|(_, data)| data).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Engine(error.to_string())
}
