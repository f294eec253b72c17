package contract

import (
	"path"
	"slices"
	"strings"
)

// pattern is one line of a .gitignore file.
type pattern struct {
	segments []string
	anchored bool // it is about a place below the file's folder, not about a name at any depth
	folder   bool // it is about folders only
	keep     bool // it takes back what an earlier line ignored
}

// ignoreFile is a .gitignore file and the folder it governs.
type ignoreFile struct {
	dir      string
	patterns []pattern
}

func parseIgnore(dir, text string) ignoreFile {
	f := ignoreFile{dir: dir}
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		if p, ok := parsePattern(line); ok {
			f.patterns = append(f.patterns, p)
		}
	}
	return f
}

func parsePattern(line string) (pattern, bool) {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = strings.TrimSuffix(line, " ")
	}
	if line == "" || line[0] == '#' {
		return pattern{}, false
	}
	var p pattern
	if line[0] == '!' {
		p.keep, line = true, line[1:]
	}
	if strings.HasPrefix(line, `\#`) || strings.HasPrefix(line, `\!`) {
		line = line[1:]
	}
	if trimmed, ok := strings.CutSuffix(line, "/"); ok {
		p.folder, line = true, trimmed
	}
	p.anchored = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return pattern{}, false
	}
	p.segments = strings.Split(line, "/")
	return p, true
}

// ignored reports whether the files of the folders above, outermost first, ignore name. The last pattern that
// matches decides.
func ignored(files []ignoreFile, name string, folder bool) bool {
	for _, file := range slices.Backward(files) {
		rel := name
		if file.dir != "." {
			rel = strings.TrimPrefix(name, file.dir+"/")
		}
		for _, p := range slices.Backward(file.patterns) {
			if p.matches(rel, folder) {
				return !p.keep
			}
		}
	}
	return false
}

func (p pattern) matches(rel string, folder bool) bool {
	if p.folder && !folder {
		return false
	}
	if !p.anchored {
		return matchSegment(p.segments[0], path.Base(rel))
	}
	return matchSegments(p.segments, strings.Split(rel, "/"))
}

func matchSegments(patterns, names []string) bool {
	for len(patterns) > 0 {
		if patterns[0] == "**" {
			if len(patterns) == 1 {
				return len(names) > 0
			}
			for i := range names {
				if matchSegments(patterns[1:], names[i:]) {
					return true
				}
			}
			return false
		}
		if len(names) == 0 || !matchSegment(patterns[0], names[0]) {
			return false
		}
		patterns, names = patterns[1:], names[1:]
	}
	return len(names) == 0
}

func matchSegment(pattern, name string) bool {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return pattern == name
	}
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
	return err == nil && ok
}
