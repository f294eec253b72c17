package drift

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

var (
	errOutside   = errors.New("the path leaves the scanned directory")
	errUnmounted = errors.New("the path is absolute, and no Compose file mounts it from the scanned directory")
)

// command is how a Prometheus is started by Compose. The zero value is one that Compose does not start.
type command struct {
	found  bool
	args   []argument
	pos    slo.Position
	mounts []mount
}

type argument struct {
	text string
	pos  slo.Position
}

// mount is a file or directory of the host inside a container.
type mount struct{ host, inside string }

// findCommand looks in the Compose files for the service of a Prometheus: the one that mounts the configuration, else
// one of that image.
func findCommand(fsys fs.FS, config string, d Deployment) command {
	var likely command
	for _, file := range d.Compose {
		doc, f := readDocument(fsys, file)
		if f != nil {
			continue // topology reports it
		}
		for _, tree := range doc.trees {
			for _, service := range pairs(find(tree, "services").value) {
				c := readCommand(doc, service)
				if _, mounted := c.inside(config); mounted {
					return c
				}
				if !likely.found && isPrometheus(text(find(service.value, "image").value)) {
					likely = c
				}
			}
		}
	}
	return likely
}

// isPrometheus reports an image whose name is prometheus, whatever its registry and tag.
func isPrometheus(image string) bool {
	image, _, _ = strings.Cut(path.Base(image), "@")
	image, _, _ = strings.Cut(image, ":")
	return image == "prometheus"
}

func readCommand(doc *document, service entry) command {
	c := command{found: true, pos: doc.position(service.key)}
	for _, key := range []string{"entrypoint", "command"} {
		value := find(service.value, key).value
		for _, word := range strings.Fields(text(value)) {
			c.args = append(c.args, argument{word, doc.position(value)})
		}
		for _, n := range items(value) {
			c.args = append(c.args, argument{text(n), doc.position(n)})
		}
	}
	for _, n := range items(find(service.value, "volumes").value) {
		host, inside := text(find(n, "source").value), text(find(n, "target").value)
		if n.Kind == yaml.ScalarNode {
			parts := strings.SplitN(n.Value, ":", 3)
			if len(parts) > 1 {
				host, inside = parts[0], parts[1]
			}
		}
		if strings.HasPrefix(host, ".") && path.IsAbs(inside) {
			c.mounts = append(c.mounts, mount{beside(doc.file, host), path.Clean(inside)})
		}
	}
	return c
}

// inside is a file's path in the container.
func (c command) inside(file string) (string, bool) {
	for _, m := range c.mounts {
		if rest, ok := below(m.host, file); ok {
			return path.Join(m.inside, rest), true
		}
	}
	return "", false
}

// below is what follows a directory in a path.
func below(dir, file string) (string, bool) {
	if dir == file {
		return "", true
	}
	if dir == "." {
		return file, true
	}
	return strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

// local lists where a path of the configuration may be found: beside it, or where the container's mounts come from.
func (c command) local(config, name string) []string {
	var all []string
	if !path.IsAbs(name) {
		all = append(all, beside(config, name))
		where, ok := c.inside(config)
		if !ok {
			return all
		}
		name = beside(where, name)
	}
	for _, m := range c.mounts {
		if rest, ok := below(m.inside, name); ok {
			all = append(all, path.Join(m.host, rest))
		}
	}
	return all
}

// retention reads how long samples are kept out of the command line.
func (c command) retention() kept {
	if !c.found {
		return kept{how: "no Compose file starts it, so that its flags are unknown; without one it keeps 15d"}
	}
	for i, a := range c.args {
		for _, flag := range []string{"--storage.tsdb.retention.time", "--storage.tsdb.retention"} {
			value, ok := strings.CutPrefix(a.text, flag+"=")
			if a.text == flag && i+1 < len(c.args) {
				value, ok = c.args[i+1].text, true
			}
			if ok {
				return keptFor(value, a.pos)
			}
		}
	}
	return keptUntold(c.pos)
}

func keptUntold(pos slo.Position) kept {
	return kept{time: defaultRetention, known: true, how: "15d, since no flag says otherwise", pos: pos}
}

func keptFor(value string, pos slo.Position) kept {
	value = strings.Trim(value, `"'`)
	d, err := model.ParseDuration(value)
	if err != nil {
		return kept{how: "the flag says " + value + ", which can't be read here", pos: pos}
	}
	return kept{time: time.Duration(d), known: true, how: value, pos: pos}
}
