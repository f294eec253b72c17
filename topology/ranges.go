package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/slowburn/slowburn/slo"
)

const (
	maxRange = 256  // ports of a range that compose-go is left to write out
	maxSpan  = 8192 // ports that an included file's ranges may come to
)

// foldedName marks, in a port's name, a range that was folded to its first port, and says how long it is.
const foldedName = "slowburn-range-"

// foldRanges puts one port in the place of each long range in the given documents: compose-go takes 50 µs for
// every port of a range, which is seconds for all of them. ports unfolds them again. The files that compose-go
// reads itself can't be changed, so that the ranges in those are bounded.
func (s *scan) foldRanges(given []*document) {
	for _, d := range s.order {
		span := 0
		for _, tree := range d.trees {
			for _, service := range pairs(find(tree, "services").value) {
				for _, n := range items(find(service.value, "ports").value) {
					span += s.foldRange(d, n, slices.Contains(given, d))
				}
			}
		}
		if span > maxSpan && !slices.Contains(given, d) {
			s.malformed(d, slo.Position{File: d.file}, fmt.Sprintf("publishes %d ports by ranges", span), "name the file with the first Compose files instead of including it")
		}
	}
}

// foldRange folds one entry of ports and returns how many ports it is.
func (s *scan) foldRange(d *document, n *yaml.Node, fold bool) int {
	if n.Kind != yaml.ScalarNode || !strings.Contains(n.Value, "-") {
		return 1
	}
	text := s.expand(n.Value, s.env)
	p, length, ok := parseRange(text)
	if !ok || !fold || length <= maxRange {
		return length
	}
	d.mended = true
	*n = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column, Anchor: n.Anchor, Content: []*yaml.Node{
		scalar("name"), scalar(foldedName + strconv.Itoa(length)), scalar("target"), {Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(p.Container)},
		scalar("published"), scalar(p.Published), scalar("protocol"), scalar(p.Protocol)}}
	if p.HostIP != "" {
		n.Content = append(n.Content, scalar("host_ip"), scalar(p.HostIP))
	}
	return length
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.DoubleQuotedStyle}
}

// parseRange reads [IP:][FIRST-LAST:]FIRST-LAST[/PROTOCOL] with ranges of the same length. All else is left to
// compose-go, which judges it.
func parseRange(text string) (first Port, length int, ok bool) {
	text, first.Protocol, _ = strings.Cut(text, "/")
	first.Protocol = protocol(first.Protocol)
	rest, containers := cutLast(text)
	low, high, ok := span(containers)
	if !ok || first.Protocol != "tcp" && first.Protocol != "udp" && first.Protocol != "sctp" {
		return Port{}, 1, false
	}
	first.Container, length = low, high-low+1
	if rest == "" {
		return first, length, true
	}
	var hosts string
	first.HostIP, hosts = cutLast(rest)
	first.HostIP = strings.Trim(first.HostIP, "[]")
	low, high, ok = span(hosts)
	first.Published = strconv.Itoa(low)
	return first, length, ok && high-low+1 == length
}

func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// span reads FIRST-LAST.
func span(s string) (first, last int, ok bool) {
	low, high, _ := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(low, 10, 16)
	b, err2 := strconv.ParseUint(high, 10, 16)
	return int(a), int(b), err1 == nil && err2 == nil && 0 < a && a <= b
}

// unfold lists the ports that a published port stands for.
func unfold(c types.ServicePortConfig) (list []Port) {
	p := Port{HostIP: c.HostIP, Published: c.Published, Container: int(c.Target), Protocol: protocol(c.Protocol)}
	length, err := strconv.Atoi(strings.TrimPrefix(c.Name, foldedName))
	if err != nil || !strings.HasPrefix(c.Name, foldedName) || length > maxPorts {
		return []Port{p}
	}
	host, _ := strconv.Atoi(p.Published) // empty where the engine chooses: then it stays empty
	for i := range length {
		each := p
		each.Container += i
		if p.Published != "" {
			each.Published = strconv.Itoa(host + i)
		}
		list = append(list, each)
	}
	return list
}
