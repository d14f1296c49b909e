//! Turns the published model files into ones the engine can load.
//!
//! The OpenCV Zoo publishes YuNet and SFace with block-quantised 8-bit weights, which no CPU engine
//! runs well, and CenterFace declares a picture of 32x32. [`fold`] multiplies the weights out to
//! 32-bit floats once and declares the picture's size free.

mod proto;

use std::collections::{HashMap, HashSet};

use prost::Message;
use proto::{Dimension, FLOAT, Graph, INT8, INT64, Model, Node, OperatorSet, Tensor, UINT8};

/// Why a file cannot be folded.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum FoldError {
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("{what}: {name}")]
    Unsupported { what: &'static str, name: String },
}

fn unsupported(what: &'static str, name: &str) -> FoldError {
    FoldError::Unsupported { what, name: name.to_owned() }
}

/// Rewrites the ONNX file `bytes`: constant `DequantizeLinear` and `Reshape` nodes are evaluated,
/// `Dropout` (nothing at inference) is removed, constants are no longer declared as inputs, and the
/// file says IR 8, opset 13, the newest in which no operator of the models has changed its meaning.
/// With `free_size`, height and width of the input are declared unknown and the batch one picture.
/// The same input always gives the same bytes.
pub(crate) fn fold(bytes: &[u8], free_size: bool) -> Result<Vec<u8>, FoldError> {
    let mut model = Model::decode(bytes)?;
    let mut graph = model.graph.take().ok_or_else(|| unsupported("no graph", "model"))?;
    fold_constants(&mut graph)?;
    if free_size {
        free_sizes(&mut graph);
    }
    model.graph = Some(graph);
    model.ir_version = Some(8);
    model.opset_import = vec![OperatorSet { domain: Some(String::new()), version: Some(13) }];
    Ok(model.encode_to_vec())
}

fn fold_constants(graph: &mut Graph) -> Result<(), FoldError> {
    let mut constants = Constants::default();
    for tensor in std::mem::take(&mut graph.initializer) {
        constants.insert(tensor.name.clone().unwrap_or_default(), tensor);
    }
    // What a removed Dropout put out -> what it was given.
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut kept = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        for input in &mut node.input {
            if let Some(source) = renamed.get(input) {
                input.clone_from(source);
            }
        }
        let op = node.op_type.as_deref().unwrap_or_default();
        let first = node.input.first().and_then(|name| constants.get(name));
        let value = match (op, first) {
            ("Constant", _) => Some(constant(&node)?),
            ("DequantizeLinear", Some(quantised)) => {
                Some(dequantise(&node, quantised, &constants)?)
            }
            ("Reshape", Some(data)) => Some(reshape(&node, data, &constants)?),
            _ => None,
        };
        let output = node.output.first().cloned().unwrap_or_default();
        match value {
            Some(tensor) => constants.insert(output, tensor),
            None if op == "Dropout" => {
                let source = node.input.first().cloned().unwrap_or_default();
                renamed.insert(output, source);
            }
            None => kept.push(node),
        }
    }
    let used: HashSet<&str> = kept.iter().flat_map(|n| &n.input).map(String::as_str).collect();
    graph.input.retain(|i| {
        let name = i.name.as_deref().unwrap_or_default();
        constants.get(name).is_none() && used.contains(name)
    });
    graph.initializer = constants.into_used(&used);
    graph.value_info.clear();
    graph.node = kept;
    Ok(())
}

/// Named constants in order of appearance, so that the result is the same every time.
#[derive(Default)]
struct Constants {
    by_name: HashMap<String, usize>,
    tensors: Vec<Tensor>,
}

impl Constants {
    fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).and_then(|&i| self.tensors.get(i))
    }

    fn insert(&mut self, name: String, mut tensor: Tensor) {
        tensor.name = Some(name.clone());
        self.by_name.insert(name, self.tensors.len());
        self.tensors.push(tensor);
    }

    fn into_used(self, used: &HashSet<&str>) -> Vec<Tensor> {
        let is_used = |t: &Tensor| used.contains(t.name.as_deref().unwrap_or_default());
        self.tensors.into_iter().filter(is_used).collect()
    }
}

fn constant(node: &Node) -> Result<Tensor, FoldError> {
    let value = node.attribute.iter().find(|a| a.name.as_deref() == Some("value"));
    value
        .and_then(|a| a.t.clone())
        .ok_or_else(|| unsupported("constant without a tensor", name(node)))
}

fn name(node: &Node) -> &str {
    node.output.first().map_or("unnamed node", String::as_str)
}

fn int_attribute(node: &Node, key: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name.as_deref() == Some(key)).and_then(|a| a.i)
}

/// `(quantised - zero_point) * scale`, as the ONNX operator `DequantizeLinear` defines it: one scale
/// for all, one per index of `axis`, or one per block of `block_size` indices of `axis`.
fn dequantise(node: &Node, quantised: &Tensor, all: &Constants) -> Result<Tensor, FoldError> {
    let fail = |what| unsupported(what, name(node));
    let input = |i: usize| node.input.get(i).filter(|n| !n.is_empty()).and_then(|n| all.get(n));
    let scales = input(1).ok_or_else(|| fail("scales are not constant"))?;
    let scale = numbers(scales)?;
    let zero = match input(2) {
        Some(tensor) => numbers(tensor)?,
        None => vec![0.0; scale.len()],
    };
    let mut values = numbers(quantised)?;
    let rank = quantised.dims.len() as i64;
    let axis = int_attribute(node, "axis").unwrap_or(1);
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
    let block = int_attribute(node, "block_size").unwrap_or(0).max(0) as usize;
    let length = |dims: &[i64]| dims.iter().map(|&d| d.max(0) as usize).product::<usize>();
    if values.is_empty() || length(&quantised.dims) != values.len() {
        return Err(fail("shape does not fit its data"));
    }
    let per_axis = scale.len() > 1;
    if per_axis && axis >= quantised.dims.len() {
        return Err(fail("axis is outside the tensor"));
    }
    let (steps, inner) = if per_axis {
        (quantised.dims[axis].max(0) as usize, length(&quantised.dims[axis + 1..]))
    } else {
        (1, values.len())
    };
    let blocks = if block > 0 { steps.div_ceil(block) } else { steps };
    for (i, value) in values.iter_mut().enumerate() {
        let at = if !per_axis {
            0
        } else {
            let (outer, step, rest) = (i / (steps * inner), i / inner % steps, i % inner);
            step.checked_div(block).map_or(step, |b| (outer * blocks + b) * inner + rest)
        };
        let (Some(s), Some(z)) = (scale.get(at), zero.get(at)) else {
            return Err(fail("fewer scales than blocks"));
        };
        *value = (*value - z) * s;
    }
    Ok(float_tensor(quantised.dims.clone(), &values))
}

fn reshape(node: &Node, data: &Tensor, all: &Constants) -> Result<Tensor, FoldError> {
    let fail = |what| unsupported(what, name(node));
    let shape =
        node.input.get(1).and_then(|n| all.get(n)).ok_or_else(|| fail("shape is not constant"))?;
    let shape: Vec<i64> = integers(shape)?;
    let count = |dims: &[i64]| dims.iter().product::<i64>();
    // The meanings of 0 (keep) and -1 (the rest) do not occur in the constants of these models.
    if shape.iter().any(|&d| d <= 0) || count(&shape) != count(&data.dims) {
        return Err(fail("reshape does not fit its data"));
    }
    Ok(Tensor { dims: shape, ..data.clone() })
}

fn float_tensor(dims: Vec<i64>, values: &[f32]) -> Tensor {
    let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor { dims, data_type: Some(FLOAT), raw_data: Some(raw), ..Tensor::default() }
}

/// The values of a tensor of floats or of 8-bit integers.
fn numbers(tensor: &Tensor) -> Result<Vec<f32>, FoldError> {
    let raw = tensor.raw_data.as_deref();
    Ok(match (tensor.data_type, raw) {
        (Some(FLOAT), None) => tensor.float_data.clone(),
        (Some(FLOAT), Some(raw)) => {
            raw.as_chunks().0.iter().map(|&c| f32::from_le_bytes(c)).collect()
        }
        (Some(INT8 | UINT8), None) => tensor.int32_data.iter().map(|&v| v as f32).collect(),
        (Some(UINT8), Some(raw)) => raw.iter().map(|&v| f32::from(v)).collect(),
        (Some(INT8), Some(raw)) => raw.iter().map(|&v| f32::from(v.cast_signed())).collect(),
        _ => {
            return Err(unsupported(
                "type is not float or 8 bits",
                tensor.name.as_deref().unwrap_or_default(),
            ));
        }
    })
}

fn integers(tensor: &Tensor) -> Result<Vec<i64>, FoldError> {
    match (tensor.data_type, tensor.raw_data.as_deref()) {
        (Some(INT64), None) => Ok(tensor.int64_data.clone()),
        (Some(INT64), Some(raw)) => {
            Ok(raw.as_chunks().0.iter().map(|&c| i64::from_le_bytes(c)).collect())
        }
        _ => Err(unsupported("type is not int64", tensor.name.as_deref().unwrap_or_default())),
    }
}

/// One picture of any size in; out come maps (rank 4) and lists (rank 3) of matching sizes.
fn free_sizes(graph: &mut Graph) {
    let dims = |value: &mut proto::ValueInfo, names: &[(usize, String)]| {
        let shape =
            value.kind.as_mut().and_then(|k| k.tensor.as_mut()).and_then(|t| t.shape.as_mut());
        let Some(shape) = shape else { return };
        if let Some(batch) = shape.dim.first_mut() {
            *batch = Dimension { value: Some(1), param: None };
        }
        for (at, name) in names {
            if let Some(dim) = shape.dim.get_mut(*at) {
                *dim = Dimension { value: None, param: Some(name.clone()) };
            }
        }
    };
    for input in &mut graph.input {
        dims(input, &[(2, "h".to_owned()), (3, "w".to_owned())]);
    }
    for output in &mut graph.output {
        let name = output.name.clone().unwrap_or_default();
        let rank =
            output.kind.as_ref().and_then(|k| k.tensor.as_ref()).and_then(|t| t.shape.as_ref());
        match rank.map(|s| s.dim.len()) {
            Some(3) => dims(output, &[(1, format!("{name}_n"))]),
            Some(4) => dims(output, &[(2, format!("{name}_h")), (3, format!("{name}_w"))]),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
