"""Manifest <-> YAML; the reader knows every key and refuses others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from vision_nodes.camera.resize_map import Fit
from vision_nodes.engine.fields import Fields
from vision_nodes.engine.manifest_specs import (
    DepthSpec,
    Head,
    InputSpec,
    Measurement,
    ModelFile,
    OutputSpec,
    Training,
)

if TYPE_CHECKING:
    from vision_nodes.engine.manifest import Manifest


def values_from_fields(fields: Fields) -> dict[str, Any]:
    """Arguments of `Manifest`. Raises ModelError naming the key at fault."""
    path = fields.where
    values: dict[str, Any] = {key: fields.take(key, str) for key in ("name", "task", "description")}
    values["files"] = {
        key: _file(Fields(v, f"{path}: files: {key}")) for key, v in fields.fields("files").items()
    }
    values["input"] = _input(fields.fields("input"))
    values["outputs"] = {
        key: _output(Fields(v, f"{path}: outputs: {key}")) for key, v in fields.fields("outputs").items()
    }
    values["training"] = _training(fields.fields("training"))
    values["licence"] = fields.take("licence", str)
    values["source"] = fields.take("source", str)
    values["class_names"] = fields.sequence("class_names", str, [])
    values["postprocess"] = _postprocess(fields.fields("postprocess", {}))
    values["depth"] = _depth(fields.fields("depth")) if "depth" in fields else None
    values["descriptor_dim"] = fields.take("descriptor_dim", int, None)
    values["heads"] = {
        key: _head(Fields(v, f"{path}: heads: {key}")) for key, v in fields.fields("heads", {}).items()
    }
    values["label"] = fields.take("label", str, "")
    values["accuracy"] = _measurement(fields.fields("accuracy"))
    values["time_ms"] = _measurement(fields.fields("time_ms"))
    fields.finish()
    return values


def _file(fields: Fields) -> ModelFile:
    file = ModelFile(fields.take("file", str), fields.take("sha256", str), fields.take("bytes", int))
    fields.finish()
    return file


def _input(fields: Fields) -> InputSpec:
    size = fields.sequence("size_wh", int)
    if len(size) != 2:
        raise fields.error("size_wh", "[width, height]", repr(size))
    fit = fields.take("fit", str)
    if fit not in [f.value for f in Fit]:
        raise fields.error("fit", " | ".join(f.value for f in Fit), fit)
    batch = fields.take("batch", int, 1)
    if batch < 1:
        raise fields.error("batch", "a positive number", str(batch))
    fields.finish()
    return InputSpec((size[0], size[1]), Fit(fit), batch)


def _output(fields: Fields) -> OutputSpec:
    output = OutputSpec(fields.take("dtype", str), fields.sequence("shape", int))
    fields.finish()
    return output


def _training(fields: Fields) -> Training:
    data = []
    for index, entry in enumerate(fields.take("data", list)):
        item = Fields(entry, f"{fields.where}: data[{index}]")
        data.append({key: item.take(key, str) for key in ("name", "licence", "use")})
        item.finish()
    training = Training(
        tuple(data), fields.take("seed", int), fields.take("command", str), fields.take("init", str)
    )
    fields.finish()
    return training


def _postprocess(fields: Fields) -> dict[str, float]:
    return {name: fields.take(name, float) for name in fields.names()}


def _depth(fields: Fields) -> DepthSpec:
    fx_canonical, max_m = fields.take("fx_canonical", float), fields.take("max_m", float)
    depth = DepthSpec(fx_canonical, max_m, fields.take("metric", bool, True))
    fields.finish()
    return depth


def _head(fields: Fields) -> Head:
    outputs = {str(k): str(v) for k, v in fields.fields("outputs").items()}
    head = Head(outputs, fields.sequence("class_names", str, []))
    fields.finish()
    return head


def _measurement(fields: Fields) -> Measurement:
    result: Measurement = {}
    for precision, values in fields.items():
        inner = Fields(values, f"{fields.where}: {precision}")
        result[precision] = {}
        for metric, value in inner.items():
            if metric != "on" and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise inner.error(metric, "a number ('on' alone is text)", repr(value))
            result[precision][metric] = str(value) if metric == "on" else float(value)
    return result


def manifest_to_yaml(manifest: Manifest) -> str:
    """YAML text that `values_from_fields` reads back to an equal manifest."""
    plain: dict[str, Any] = {key: getattr(manifest, key) for key in ("name", "task", "description")}
    plain["files"] = {key: dict(vars(file)) for key, file in manifest.files.items()}
    spec = manifest.input
    plain["input"] = {"size_wh": list(spec.size_wh), "fit": spec.fit.value, "batch": spec.batch}
    plain["outputs"] = {k: {"dtype": o.dtype, "shape": list(o.shape)} for k, o in manifest.outputs.items()}
    if manifest.class_names:
        plain["class_names"] = list(manifest.class_names)
    if manifest.postprocess:
        plain["postprocess"] = dict(manifest.postprocess)
    if manifest.depth is not None:
        plain["depth"] = dict(vars(manifest.depth))
        if manifest.depth.metric:
            del plain["depth"]["metric"]  # what is usual goes without saying
    if manifest.descriptor_dim is not None:
        plain["descriptor_dim"] = manifest.descriptor_dim
    if manifest.heads:
        plain["heads"] = {
            task: {"outputs": dict(h.outputs), "class_names": list(h.class_names)}
            for task, h in manifest.heads.items()
        }
    training = manifest.training
    plain["training"] = {**vars(training), "data": [dict(entry) for entry in training.data]}
    plain["licence"] = manifest.licence
    plain["label"] = manifest.label
    plain["accuracy"] = {k: dict(v) for k, v in manifest.accuracy.items()}
    plain["time_ms"] = {k: dict(v) for k, v in manifest.time_ms.items()}
    plain["source"] = manifest.source
    return yaml.dump(plain, Dumper=_ManifestDumper, sort_keys=False, width=110, allow_unicode=True)


class _ManifestDumper(yaml.SafeDumper):
    """Short lists of numbers on one line, nothing as an alias: a manifest is read by people."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flow = all(isinstance(item, (int, float, str)) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_ManifestDumper.add_representer(list, _represent_list)
