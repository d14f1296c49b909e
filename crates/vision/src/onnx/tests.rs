use super::*;
use proto::{Attribute, Shape, TensorType, Type, ValueInfo};

fn tensor(name: &str, dims: &[i64], data_type: i32, raw: Vec<u8>) -> Tensor {
    Tensor {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(data_type),
        raw_data: Some(raw),
        ..Tensor::default()
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> Tensor {
    Tensor { name: Some(name.to_owned()), ..float_tensor(dims.to_vec(), values) }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: Some(name.to_owned()), i: Some(i), kind: Some(2), ..Attribute::default() }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    Node {
        op_type: Some(op.to_owned()),
        input: inputs.iter().map(|s| (*s).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..Node::default()
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfo {
    let dim = dims.iter().map(|&d| Dimension { value: Some(d), param: None }).collect();
    let tensor = TensorType { elem_type: Some(FLOAT), shape: Some(Shape { dim }) };
    ValueInfo {
        name: Some(name.to_owned()),
        kind: Some(Type { tensor: Some(tensor) }),
        doc_string: None,
    }
}

fn folded(graph: Graph, free_size: bool) -> Graph {
    let model = Model { ir_version: Some(4), graph: Some(graph), ..Model::default() };
    let bytes = fold(&model.encode_to_vec(), free_size).unwrap();
    assert_eq!(bytes, fold(&model.encode_to_vec(), free_size).unwrap());
    let model = Model::decode(&bytes[..]).unwrap();
    assert_eq!(model.ir_version, Some(8));
    assert_eq!(model.opset_import[0].version, Some(13));
    model.graph.unwrap()
}

/// A quantised 2x4 weight that is reshaped to 8 and multiplied with the input.
fn quantised(scales: Tensor, zeros: Tensor, attributes: Vec<Attribute>) -> Graph {
    Graph {
        initializer: vec![
            tensor("q", &[2, 4], INT8, vec![1, 2, 3, 0xff, 5, 6, 7, 8]),
            scales,
            zeros,
            tensor("shape", &[1], INT64, 8i64.to_le_bytes().to_vec()),
        ],
        node: vec![
            node("DequantizeLinear", &["q", "s", "z"], "w2", attributes),
            node("Reshape", &["w2", "shape"], "w", vec![]),
            node("Dropout", &["x"], "x1", vec![]),
            node("Mul", &["x1", "w"], "y", vec![]),
        ],
        input: vec![value("x", &[10, 3, 32, 32]), value("q", &[2, 4])],
        output: vec![value("y", &[10, 1, 8, 8])],
        ..Graph::default()
    }
}

#[test]
fn blocks_of_weights_become_floats_in_their_last_shape() {
    let scales = floats("s", &[2, 2], &[1.0, 10.0, 0.5, 2.0]);
    let zeros = tensor("z", &[2, 2], INT8, vec![0, 1, 0, 0]);
    let graph = folded(quantised(scales, zeros, vec![int("axis", 1), int("block_size", 2)]), false);
    assert_eq!(graph.node.len(), 1, "only Mul is left");
    assert_eq!(graph.node[0].input, ["x", "w"], "Dropout is bridged");
    assert_eq!(graph.initializer.len(), 1);
    assert_eq!(graph.initializer[0].dims, [8]);
    let expected = [1.0, 2.0, 20.0, -20.0, 2.5, 3.0, 14.0, 16.0];
    assert_eq!(numbers(&graph.initializer[0]).unwrap(), expected);
    assert_eq!(graph.input.len(), 1, "constants are no inputs");
}

#[test]
fn one_scale_per_row_and_one_for_all() {
    let zeros = |n: i64| tensor("z", &[n], INT8, vec![0; n as usize]);
    let rows = quantised(floats("s", &[2], &[1.0, 2.0]), zeros(2), vec![int("axis", 0)]);
    let rows = folded(rows, false);
    let expected = [1.0, 2.0, 3.0, -1.0, 10.0, 12.0, 14.0, 16.0];
    assert_eq!(numbers(&rows.initializer[0]).unwrap(), expected);
    let all = folded(quantised(floats("s", &[1], &[3.0]), zeros(1), vec![]), false);
    assert_eq!(numbers(&all.initializer[0]).unwrap()[3], -3.0);
}

#[test]
fn sizes_become_free() {
    let graph = quantised(floats("s", &[1], &[3.0]), tensor("z", &[1], INT8, vec![0]), vec![]);
    let graph = folded(graph, true);
    let shape = |v: &ValueInfo| v.kind.clone().unwrap().tensor.unwrap().shape.unwrap().dim;
    let (input, output) = (shape(&graph.input[0]), shape(&graph.output[0]));
    assert_eq!((input[0].value, input[1].value), (Some(1), Some(3)));
    assert_eq!((input[2].value, input[2].param.as_deref()), (None, Some("h")));
    assert_eq!(input[3].param.as_deref(), Some("w"));
    assert_eq!((output[0].value, output[1].value), (Some(1), Some(1)));
    assert_eq!(output[3].param.as_deref(), Some("y_w"));
}

#[test]
fn too_few_scales_are_an_error_that_names_the_node() {
    let scales = floats("s", &[2, 1], &[1.0, 10.0]);
    let zeros = tensor("z", &[2, 1], INT8, vec![0, 1]);
    let graph = quantised(scales, zeros, vec![int("axis", 1), int("block_size", 2)]);
    let model = Model { graph: Some(graph), ..Model::default() };
    let error = fold(&model.encode_to_vec(), false).unwrap_err();
    assert_eq!(error.to_string(), "fewer scales than blocks: w2");
}

#[test]
fn rubbish_is_an_error() {
    assert!(matches!(fold(b"not a model", false), Err(FoldError::Decode(_))));
    assert!(matches!(fold(b"", false), Err(FoldError::Unsupported { .. })));
}
