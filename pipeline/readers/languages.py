"""The language of a source file, by its name, its first line and its content, as github-linguist names languages.

The order is linguist's: an editor's mode line, the whole file name, the interpreter that a `#!` line names, the ending;
an ending that several languages share is settled by what the text holds, and a name that says nothing by the content alone.
Names, endings and interpreters are facts of github-linguist's `languages.yml` (9.x), checked against Pygments' lexers in the
tests; what tells two languages of one ending apart follows the idea of its `heuristics.yml` in patterns of our own.

Departures: some 140 languages in place of 700, for those that hold nearly all text (The Stack v2's top languages, and what
ordinary repositories keep beside them); dialects of SQL, JSON with comments, kinds of assembly and of Roff are not told apart;
no statistical classifier: content without a name is settled by tokens that one language has and others lack.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

HEAD = 1 << 15  # characters that are looked at: enough to meet a language's own words, and a bound on every pattern

# Language: its endings. Where two lines have one ending, `_AMBIGUOUS` settles it; the first line named is the fallback.
_ENDINGS = {
    "ABAP": "abap",
    "ActionScript": "as",
    "Ada": "adb ads ada",
    "Agda": "agda lagda",
    "AppleScript": "applescript",
    "AsciiDoc": "adoc asciidoc asc",
    "Assembly": "asm s nasm a51",
    "Astro": "astro",
    "AutoHotkey": "ahk ahkl",
    "Awk": "awk gawk",
    "Batchfile": "bat cmd",
    "BibTeX": "bib bibtex",
    "BitBake": "bbclass bbappend bb",
    "Bluespec": "bsv",
    "C": "c cats h idc",
    "C#": "cs csx cake",
    "C++": "cpp cc cxx c++ hpp hh hxx h++ ipp inl tcc tpp txx ixx cppm",
    "CMake": "cmake",
    "COBOL": "cob cbl ccp cobol cpy",
    "CSS": "css",
    "CSV": "csv",
    "Clojure": "clj cljs cljc cljx cl2 edn",
    "CoffeeScript": "coffee cson iced",
    "Common Lisp": "lisp lsp cl asd ny podsl",
    "Crystal": "cr",
    "Cuda": "cu cuh",
    "Cython": "pyx pxd pxi",
    "D": "d di",
    "Dart": "dart",
    "Dhall": "dhall",
    "Diff": "diff patch",
    "Dockerfile": "dockerfile containerfile",
    "EJS": "ejs",
    "Eiffel": "e",
    "Elixir": "ex exs",
    "Elm": "elm",
    "Emacs Lisp": "el emacs",
    "Erlang": "erl hrl escript xrl yrl",
    "F#": "fs fsi fsx",
    "Forth": "fth 4th forth",
    "Fortran": "f for f77 ftn fpp",
    "Fortran Free Form": "f90 f95 f03 f08",
    "GAP": "g gap gi",
    "GDScript": "gd",
    "GLSL": "glsl vert frag geom comp tesc tese vsh fsh",
    "Gettext Catalog": "po pot",
    "Go": "go",
    "GraphQL": "graphql gql graphqls",
    "Graphviz (DOT)": "dot gv",
    "Groovy": "groovy gradle grt gvy gsh",
    "HCL": "hcl nomad tf tfvars",
    "HLSL": "hlsl fx fxh hlsli",
    "HTML": "html htm xhtml html.hl",
    "HTML+Django": "jinja jinja2 j2 njk",
    "HTML+ERB": "erb",
    "Haml": "haml",
    "Handlebars": "handlebars hbs",
    "Haskell": "hs hs-boot hsc",
    "Haxe": "hx hxsl",
    "INI": "ini cfg prefs",
    "Idris": "idr lidr",
    "JSON": "json webmanifest geojson jsonc json5 avsc har",
    "JSON Lines": "jsonl ndjson",
    "Java": "java jav",
    "Java Properties": "properties",
    "Java Server Pages": "jsp jspf",
    "JavaScript": "js mjs cjs jsx es6 jsm",
    "Jsonnet": "jsonnet libsonnet",
    "Julia": "jl",
    "Jupyter Notebook": "ipynb",
    "Kotlin": "kt kts ktm",
    "LLVM": "ll",
    "Lean": "lean",
    "Less": "less",
    "Lex": "l lex",
    "Liquid": "liquid",
    "Literate Haskell": "lhs",
    "LiveScript": "ls",
    "Logtalk": "lgt logtalk",
    "Lua": "lua luau rockspec pd_lua",
    "M4": "m4",
    "MATLAB": "m matlab",
    "MDX": "mdx",
    "Makefile": "mk mak make",
    "Mako": "mako mao",
    "Markdown": "md markdown mdown mkd livemd",
    "Mathematica": "wl wls nb mathematica mt",
    "Maxima": "mac",
    "Mercury": "moo",
    "Meson": "meson",
    "Metal": "metal",
    "Modelica": "mo",
    "Nim": "nim nims nimble",
    "Nix": "nix",
    "NumPy": "numpy",
    "OCaml": "ml mli mll mly ml4 eliom",
    "Objective-C": "m h",
    "Objective-C++": "mm",
    "Odin": "odin",
    "OpenCL": "opencl",
    "OpenSCAD": "scad",
    "Org": "org",
    "PHP": "php phtml php3 php4 php5 phps inc",
    "PLSQL": "pls pck pkb pks plb plsql",
    "Pascal": "pas dfm dpr lpr",
    "Perl": "pl pm t perl ph plx psgi",
    "PostScript": "ps eps",
    "PowerShell": "ps1 psm1 psd1",
    "Processing": "pde",
    "Prolog": "prolog pro yap",
    "Protocol Buffer": "proto",
    "Protocol Buffer Text Format": "pbtxt textproto pbt",
    "Pug": "pug jade",
    "Puppet": "pp",
    "PureScript": "purs",
    "Python": "py pyi pyw py3 gyp gypi wsgi xpy rpy bzl",
    "QML": "qml qbs",
    "QMake": "pri",
    "R": "r rd rsx",
    "RMarkdown": "rmd qmd",
    "RPM Spec": "spec",
    "Racket": "rkt rktd rktl scrbl",
    "Raku": "raku rakumod p6 pl6 pm6 rakutest",
    "ReScript": "res resi",
    "Reason": "re rei",
    "RobotFramework": "robot",
    "Roff": "roff man 1 2 3 4 5 6 7 8 9 me ms",
    "Ruby": "rb gemspec rake ru builder jbuilder podspec rabl thor",
    "Rust": "rs",
    "SAS": "sas",
    "SCSS": "scss",
    "SMT": "smt2 smt z3",
    "SPARQL": "sparql rq",
    "SQL": "sql ddl prc tab udf viw",
    "SVG": "svg",
    "SWIG": "i swg",
    "Sass": "sass",
    "Scala": "scala sc kojo sbt",
    "Scheme": "scm ss sld sls sps",
    "Scilab": "sci sce tst",
    "Shell": "sh bash zsh ksh bats ebuild command tmux",
    "Slim": "slim",
    "Smalltalk": "st",
    "Smarty": "tpl",
    "Solidity": "sol",
    "Standard ML": "sml sig fun",
    "Starlark": "star bazel",
    "Stata": "do ado mata sthlp",
    "Stylus": "styl",
    "Svelte": "svelte",
    "Swift": "swift",
    "SystemVerilog": "sv svh vh",
    "TOML": "toml",
    "TSV": "tsv",
    "TSX": "tsx",
    "Tcl": "tcl adp tm",
    "TeX": "tex ltx sty cls dtx ins bbx cbx",
    "Texinfo": "texi texinfo txi",
    "Text": "txt",
    "Thrift": "thrift",
    "Turtle": "ttl",
    "Twig": "twig",
    "TypeScript": "ts mts cts",
    "Typst": "typ",
    "VBA": "bas frm",
    "VHDL": "vhdl vhd vhf",
    "Vala": "vala vapi",
    "Verilog": "v veo",
    "Vim Script": "vim vimrc vmb",
    "Visual Basic .NET": "vb vbs",
    "Vue": "vue",
    "WebAssembly": "wat wast",
    "WGSL": "wgsl",
    "XML": "xml xsd xsl-fo rng plist wsdl csproj fsproj vbproj vcxproj props targets "
    "nuspec resx xaml dtd ent xib storyboard rdf owl mml iml pom ui jelly xlf tmx",
    "XSLT": "xsl xslt",
    "XQuery": "xq xquery xqm xqy",
    "YAML": "yaml yml mir reek rviz clang-format cff sublime-syntax",
    "YANG": "yang",
    "Yacc": "y yacc yy",
    "Zig": "zig zon",
    "reStructuredText": "rst rest",
}

# Language: whole file names, in small letters.
_NAMES = {
    "Batchfile": "gradlew.bat",
    "Bazel": "",
    "CMake": "cmakelists.txt",
    "Dockerfile": "dockerfile containerfile",
    "Emacs Lisp": ".emacs project.el",
    "Gemfile.lock": "gemfile.lock",
    "Git Attributes": ".gitattributes",
    "Git Config": ".gitconfig .gitmodules",
    "Go Checksums": "go.sum go.work.sum",
    "Go Module": "go.mod go.work",
    "Groovy": "jenkinsfile",
    "INI": ".editorconfig .flake8 .pylintrc .coveragerc setup.cfg tox.ini pylintrc .npmrc",
    "Ignore List": ".gitignore .dockerignore .npmignore .eslintignore .prettierignore .hgignore .helmignore",
    "Isabelle ROOT": "root.ml",
    "JSON": ".babelrc .eslintrc .jshintrc .prettierrc .watchmanconfig .swcrc "
    "composer.lock pipfile.lock flake.lock .tern-project .arcconfig",
    "Just": "justfile",
    "Makefile": "makefile gnumakefile bsdmakefile makefile.am makefile.in kbuild makefile.inc makefile.boot",
    "Meson": "meson.build meson_options.txt",
    "Nginx": "nginx.conf",
    "Perl": "cpanfile makefile.pl",
    "Procfile": "procfile",
    "Python": "sconstruct sconscript wscript snakefile",
    "R": ".rprofile",
    "Ruby": "rakefile gemfile guardfile vagrantfile podfile capfile fastfile "
    "brewfile berksfile dangerfile appraisals .irbrc .pryrc thorfile",
    "Shell": ".bashrc .bash_profile .bash_aliases .profile .zshrc .zshenv .zprofile "
    ".kshrc pkgbuild apkbuild gradlew configure.sh .envrc bashrc zshrc",
    "Starlark": "build build.bazel workspace workspace.bazel module.bazel buck tiltfile",
    "TOML": "cargo.lock poetry.lock pipfile uv.lock pdm.lock",
    "Text": "readme license licence copying news changes authors copyright notice install todo changelog thanks contributors",
    "Vim Script": ".vimrc _vimrc .gvimrc .exrc",
    "XML": "pom.xml .classpath .project app.config web.config packages.config",
    "YAML": ".clang-format .clang-tidy .gemrc yarn.lock cmakelists.yml",
}

_INTERPRETERS = {
    "sh": "Shell",
    "bash": "Shell",
    "dash": "Shell",
    "ksh": "Shell",
    "zsh": "Shell",
    "ash": "Shell",
    "rc": "Shell",
    "bats": "Shell",
    "fish": "fish",
    "python": "Python",
    "pypy": "Python",
    "uv": "Python",
    "sage": "Sage",
    "perl": "Perl",
    "raku": "Raku",
    "rakudo": "Raku",
    "ruby": "Ruby",
    "jruby": "Ruby",
    "macruby": "Ruby",
    "rake": "Ruby",
    "node": "JavaScript",
    "nodejs": "JavaScript",
    "bun": "TypeScript",
    "deno": "TypeScript",
    "ts-node": "TypeScript",
    "tsx": "TypeScript",
    "php": "PHP",
    "lua": "Lua",
    "luajit": "Lua",
    "luau": "Lua",
    "tclsh": "Tcl",
    "wish": "Tcl",
    "expect": "Tcl",
    "awk": "Awk",
    "gawk": "Awk",
    "mawk": "Awk",
    "nawk": "Awk",
    "make": "Makefile",
    "groovy": "Groovy",
    "scala": "Scala",
    "escript": "Erlang",
    "elixir": "Elixir",
    "rscript": "R",
    "julia": "Julia",
    "guile": "Scheme",
    "scheme": "Scheme",
    "racket": "Racket",
    "sbcl": "Common Lisp",
    "clisp": "Common Lisp",
    "ecl": "Common Lisp",
    "runhaskell": "Haskell",
    "runghc": "Haskell",
    "stack": "Haskell",
    "ocaml": "OCaml",
    "ocamlrun": "OCaml",
    "swipl": "Prolog",
    "pwsh": "PowerShell",
    "powershell": "PowerShell",
    "coffee": "CoffeeScript",
    "crystal": "Crystal",
    "dart": "Dart",
    "osascript": "AppleScript",
    "gnuplot": "Gnuplot",
    "nim": "Nim",
    "swift": "Swift",
    "kotlin": "Kotlin",
    "emacs": "Emacs Lisp",
    "bb": "Clojure",
    "clojure": "Clojure",
    "nix-shell": "Nix",
    "sed": "sed",
    "cargo": "Rust",
    "rust-script": "Rust",
    "go": "Go",
    "gorun": "Go",
    "tcc": "C",
    "dmd": "D",
    "rdmd": "D",
    "java": "Java",
}

# What editors call a language in their mode lines, where it is not its name in small letters.
MODES = {
    "c++": "C++",
    "cpp": "C++",
    "objc": "Objective-C",
    "objective-c": "Objective-C",
    "sh": "Shell",
    "shell-script": "Shell",
    "bash": "Shell",
    "zsh": "Shell",
    "emacs-lisp": "Emacs Lisp",
    "elisp": "Emacs Lisp",
    "lisp-interaction": "Emacs Lisp",
    "lisp": "Common Lisp",
    "cperl": "Perl",
    "perl6": "Raku",
    "js": "JavaScript",
    "js2": "JavaScript",
    "typescript": "TypeScript",
    "latex": "TeX",
    "tex": "TeX",
    "plaintex": "TeX",
    "nxml": "XML",
    "sgml": "XML",
    "conf": "INI",
    "dosini": "INI",
    "makefile-gmake": "Makefile",
    "makefile-bsdmake": "Makefile",
    "make": "Makefile",
    "cs": "C#",
    "csharp": "C#",
    "vb": "Visual Basic .NET",
    "asm": "Assembly",
    "nasm": "Assembly",
    "gas": "Assembly",
    "tuareg": "OCaml",
    "caml": "OCaml",
    "sml": "Standard ML",
    "nroff": "Roff",
    "vim": "Vim Script",
    "rst": "reStructuredText",
    "tcl": "Tcl",
    "python3": "Python",
    "proto": "Protocol Buffer",
    "cuda": "Cuda",
    "f90": "Fortran Free Form",
    "coq": "Rocq Prover",
    "verilog": "Verilog",
    "systemverilog": "SystemVerilog",
    "octave": "MATLAB",
    "matlab": "MATLAB",
    "spec": "RPM Spec",
    "rpm-spec": "RPM Spec",
    "jinja": "HTML+Django",
    "yaml": "YAML",
    "json": "JSON",
    "sql": "SQL",
    "mysql": "SQL",
    "css": "CSS",
    "html": "HTML",
    "xml": "XML",
    "cmake": "CMake",
    "php": "PHP",
    "ini": "INI",
}


def _by_key(table: dict[str, str]) -> dict[str, str]:
    inverted: dict[str, str] = {}
    for language, keys in table.items():
        for key in keys.split():
            inverted.setdefault(key, language)
    return inverted


LANGUAGES = _by_key(_ENDINGS)
NAMES = _by_key(_NAMES)
KNOWN = {name.lower(): name for name in (*_ENDINGS, *_NAMES, *_INTERPRETERS.values(), *MODES.values())}

# Lists that packagers write: no language, whatever their words look like.
_LISTS = frozenset(
    [
        "pkg-info",
        "metadata",
        "record",
        "wheel",
        "installer",
        "requested",
        "top_level",
        "sources",
        "manifest",
        "entry_points",
        "direct_url.json",
        "zip-safe",
    ]
)

# Prose, data and pictures: what a corpus of source code may want to leave out.
DATA = frozenset(
    [
        "CSV",
        "TSV",
        "JSON",
        "JSON Lines",
        "SVG",
        "Text",
        "Diff",
        "Gettext Catalog",
        "Turtle",
        "SMT",
        "Ignore List",
        "Git Attributes",
        "Git Config",
        "Go Checksums",
        "Gemfile.lock",
    ]
)


def _rule(language: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return language, re.compile(pattern, re.MULTILINE)


# Every pattern below starts at a literal, a line's start or a word, repeats no group that could match one text in two ways,
# and has bounded gaps where a gap is needed; the text is HEAD characters at most. The tests time each on its worst input.
_CPP = (
    r"^[ \t]{0,40}(?:class|namespace)[ \t]+\w+[^;\n]{0,200}[{:]?$|"
    r"^[ \t]{0,40}template[ \t]*<|^[ \t]{0,40}(?:public|private|protected)[ \t]*:|"
    r"\bstd::\w|^[ \t]{0,40}using[ \t]+(?:namespace[ \t]|\w+[ \t]*=)|"
    r"^#[ \t]{0,40}include[ \t]*<(?:c?std(?:int|lib|io|def|arg|except)|string|vector|map|memory|iostream|"
    r"algorithm|utility|functional|type_traits|unordered_map|set|array|atomic|mutex|thread|tuple|optional|limits|cassert|cstring|cmath)>|"
    r"\b(?:constexpr|noexcept|nullptr|static_cast<|dynamic_cast<|reinterpret_cast<|const_cast<)|^[ \t]{0,40}virtual[ \t]"
)
_OBJC = (
    r"^[ \t]{0,40}@(?:interface|implementation|protocol|property|end|synthesize|selector|"
    r"import|class)\b|^#[ \t]{0,40}import[ \t]+[<\"]|^[-+][ \t]*\(\w[\w \t]{0,60}\*?\)"
)
_AMBIGUOUS: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {
    "as": (_rule("ActionScript", r"^[ \t]{0,40}(?:package|import|public|private|var|function)\b"),),
    "asc": (_rule("Public Key", r"^-----BEGIN |^ssh-(?:rsa|dss) "),),
    "bas": (
        _rule("VBA", r"^Attribute VB_"),
        _rule("BASIC", r"(?i)\A\s{0,40}\d{1,6}[ \t]"),
        _rule("FreeBASIC", r"(?i)^[ \t]{0,40}#(?:include|lang|define)\b"),
        _rule("VBA", r""),
    ),
    "bb": (_rule("Clojure", r"\((?:ns|def|defn|let|require)[ \t]"), _rule("BlitzBasic", r"(?i)\bEnd Function\b"), _rule("BitBake", r"")),
    "cl": (
        _rule("OpenCL", r"\b__?kernel\b|\b(?:__)?global\b[^\n]{0,80}\*"),
        _rule("Common Lisp", r"^[ \t]{0,40}\((?:defun|in-package|defpackage|defmacro|defvar)[ \t]"),
        _rule("OpenCL", r"^[ \t]{0,40}(?:/\*|//|#)"),
    ),
    "cls": (
        _rule("VBA", r"^VERSION [\d.]+ CLASS|^Attribute VB_"),
        _rule("TeX", r"^[ \t%]{0,40}\\(?:NeedsTeXFormat|ProvidesClass|def|newcommand|LoadClass)"),
        _rule("Apex", r"^[ \t]{0,40}(?:public|private|global|@isTest)\b"),
        _rule("ObjectScript", r"^Class[ \t]"),
    ),
    "cs": (_rule("Smalltalk", r"^![ \w]{1,80} methodsFor: "), _rule("C#", r"")),
    "d": (
        _rule("D", r"^[ \t]{0,40}(?:module|import)[ \t]+[\w.]+[^;\n]{0,200};|\bunittest\b"),
        _rule("DTrace", r"^#pragma D |^[\w$*]{0,60}:[\w$*]{0,60}:[\w$*]{0,60}:[\w$*-]{0,60}[ \t]*$"),
        _rule("Makefile", r"^[^\s:#]{1,300}[ \t]*:[ \t]*[^=\n]{0,300}\\?$"),
    ),
    "e": (
        _rule("E", r"^[ \t]{0,40}(?:def|var)[ \t][^\n]{1,200}:="),
        _rule("Eiffel", r"^[ \t]{0,40}(?:feature|class|inherit|note|create|indexing)\b"),
    ),
    "es": (_rule("Erlang", r"^[ \t]{0,40}(?:%%|main\()"), _rule("JavaScript", r"")),
    "f": (_rule("Forth", r"^: "), _rule("Fortran", r"")),
    "for": (_rule("Forth", r"^: "), _rule("Fortran", r"")),
    "frm": (_rule("VBA", r"^VERSION [\d.]+|^Attribute VB_"), _rule("INI", r"\ATYPE=VIEW")),
    "fs": (
        _rule("Forth", r"^: "),
        _rule("GLSL", r"^[ \t]{0,40}(?:#version|precision|uniform|varying|attribute|vec[234])\b"),
        _rule("F#", r""),
    ),
    "g": (
        _rule("ANTLR", r"^(?:lexer |parser |tree )?grammar[ \t]"),
        _rule("G-code", r"^[MG]\d{1,3}[ \t\r\n]"),
        _rule("GAP", r"\b(?:Declare\w+|BindGlobal|Install\w+|SetPackageInfo)\("),
    ),
    "gd": (_rule("GAP", r"\b(?:Declare\w+|BindGlobal|KeyDependentOperation)\("), _rule("GDScript", r"")),
    "h": (_rule("Objective-C", _OBJC), _rule("C++", _CPP), _rule("C", r"")),
    "hh": (_rule("Hack", r"\A<\?hh"), _rule("C++", r"")),
    "i": (
        _rule("SWIG", r"^[ \t]{0,40}%\w+|^%[{}]"),
        _rule("Assembly", r"(?i)^[ \t]{0,40}(?:mov|db|equ|lda|jmp)\b"),
        _rule("C", r"^#[ \t]{0,40}\w|[;{}]$"),
    ),
    "inc": (
        _rule("PHP", r"<\?(?:php|=|\s)"),
        _rule("Pascal", r"(?i)^[ \t]{0,40}\{\$\w|^[ \t]{0,40}(?:procedure|function|end)\b[^{}\n]{0,200};[ \t]*$"),
        _rule("BitBake", r"^[ \t]{0,40}(?:inherit|require|SRC_URI|DEPENDS|LICENSE|PV|do_\w+)[ \t(?:=+]"),
        _rule("Makefile", r"^[A-Z_][A-Z0-9_]{1,60}[ \t]*[:+?]?=|^[ \t]{0,40}(?:ifeq|ifdef|endif|include)\b"),
        _rule("Assembly", r"(?i)^[ \t]{0,40}(?:mov|lea|%macro|%define|equ|db|dw|\.macro|jmp)\b"),
        _rule("C++", _CPP),
        _rule("C", r"^#[ \t]{0,40}(?:include|define|if|ifdef)|[;{}][ \t]*$"),
    ),
    "l": (
        _rule("Common Lisp", r"^\((?:defun|defmacro|in-package)[ \t]"),
        _rule("Lex", r"^%[%{}]|^<\w+>"),
        _rule("Roff", r"^\.[A-Za-z]{2}(?:\s|$)"),
    ),
    "ls": (_rule("LoomScript", r"^[ \t]{0,40}package[ \t][\w./*]{0,100}[ \t]*\{"), _rule("LiveScript", r"")),
    "m": (
        _rule("Objective-C", _OBJC),
        _rule("Mercury", r"^:- module\b"),
        _rule("Mathematica", r"^[ \t]{0,40}\(\*|\w\[[^\n]{0,100}\][ \t]*:=|^BeginPackage\["),
        _rule("M", r"^[A-Za-z%]\w{0,30}[ \t]*;|^[ \t]{1,40};"),
        _rule("MATLAB", r"^[ \t]{0,40}%|^[ \t]{0,40}(?:function|classdef|end|for|if|while)\b|;[ \t]*$"),
        _rule("Objective-C", r"^[ \t]{0,40}(?://|/\*|#[ \t]{0,20}\w)"),
    ),
    "md": (_rule("GCC Machine Description", r"\A(?:[;\s][^\n]{0,200}\n){0,60}\(define_"), _rule("Markdown", r"")),
    "ml": (
        _rule("Standard ML", r"^[ \t]{0,40}(?:structure|signature|functor)[ \t]+\w+[^\n]{0,100}=|\bval[ \t]+\w+[ \t]*=[ \t]*fn\b"),
        _rule("OCaml", r""),
    ),
    "mm": (_rule("XML", r"\A\s{0,40}<(?:map|\?xml)\b"), _rule("Objective-C++", r"")),
    "mod": (
        _rule("Go Module", r"^module[ \t]+\S+$"),
        _rule("XML", r"<!ENTITY "),
        _rule("Modula-2", r"^[ \t]{0,40}(?:IMPLEMENTATION |DEFINITION )?MODULE[ \t]+\w+;"),
        _rule("NMODL", r"^[ \t]{0,40}(?:NEURON|INITIAL|UNITS)[ \t]*\{"),
        _rule("AMPL", r"^[ \t]{0,40}(?:param|var|set|minimize|maximize|subject to)\b"),
    ),
    "mt": (_rule("Mathematica", r"\(\*"),),
    "ms": (
        _rule("Roff", r"^[.'][A-Za-z]{2}(?:\s|$)"),
        _rule("MAXScript", r"^[ \t]{0,40}(?:--|fn |function |struct |rollout |macroscript )"),
    ),
    "nb": (_rule("Mathematica", r"\bNotebook\[|\(\*"), _rule("Text", r"")),
    "p": (
        _rule("Gnuplot", r"^[ \t]{0,40}(?:s?plot|set (?:term|terminal|output|xlabel|ylabel))\b"),
        _rule("Pascal", r"(?i)^[ \t]{0,40}(?:program|procedure|unit)[ \t]"),
        _rule("OpenEdge ABL", r""),
    ),
    "php": (_rule("Hack", r"\A<\?hh"), _rule("PHP", r"")),
    "pl": (
        _rule("Raku", r"^[ \t]{0,40}use[ \t]+v6\b"),
        _rule(
            "Perl",
            r"^[ \t]{0,40}(?:use[ \t]+(?:strict|warnings|\w+(?:::\w+)*)|package[ \t]+\w|"
            r"sub[ \t]+\w+|my[ \t]*[$@%(]|require[ \t]+\w|#!.{0,80}perl)",
        ),
        _rule("Prolog", r"^[^#\n]{0,300}:-|^[a-z]\w*\([^\n]{0,300}\)\.[ \t]*$"),
        _rule("Perl", r""),
    ),
    "plt": (_rule("Prolog", r"^[ \t]{0,40}:-"), _rule("Gnuplot", r"")),
    "pm": (
        _rule("X PixMap", r"/\* XPM \*/"),
        _rule("Raku", r"^[ \t]{0,40}(?:use[ \t]+v6\b|unit[ \t]+(?:module|class)\b)"),
        _rule("Perl", r""),
    ),
    "pod": (_rule("Raku", r"^=begin pod"), _rule("Pod", r"")),
    "pp": (_rule("Pascal", r"(?i)^[ \t]{0,40}(?:unit|program)[ \t]+\w+;|^[ \t]{0,40}end[.;]"), _rule("Puppet", r"")),
    "pro": (
        _rule("QMake", r"^[ \t]{0,40}(?:TEMPLATE|SOURCES|HEADERS|QT|TARGET|CONFIG|SUBDIRS|include|DEFINES|LIBS)[ \t]*[(+*-]?[=(]"),
        _rule("Proguard", r"^-(?:keep|dontwarn|include|keepclassmembers|keepattributes|dontobfuscate)\b"),
        _rule("IDL", r"(?i)^[ \t]{0,40}(?:pro|function)[ \t]+\w+[ \t]*(?:,|$)|^[ \t]{0,40}compile_opt\b"),
        _rule("Prolog", r"^[^\[#\n]{0,300}:-"),
    ),
    "q": (_rule("HiveQL", r"(?i)^[ \t]{0,40}(?:select|create|alter|drop|insert|use|set)[ \t]"), _rule("q", r"")),
    "qs": (_rule("Q#", r"^[ \t]{0,40}(?:namespace|operation|open)[ \t]"), _rule("JavaScript", r"")),
    "r": (_rule("Rebol", r"(?i)\bREBOL[ \t]*\["), _rule("Rez", r"#include \"(?:Types|Carbon)\.r\""), _rule("R", r"")),
    "rd": (_rule("R", r"^\\(?:name|title|docType)\{|^%"),),
    "re": (_rule("C++", r"^#[ \t]{0,40}(?:include|define|if)|^[ \t]{0,40}template[ \t]*<"), _rule("Reason", r"")),
    "res": (_rule("XML", r"\A\s{0,40}<\?xml"), _rule("ReScript", r"^[ \t]{0,40}(?:let|module|type|open|@)\b")),
    "rs": (_rule("XML", r"\A\s{0,40}<\?xml"), _rule("RenderScript", r"^#pragma[ \t]+(?:rs|version)"), _rule("Rust", r"")),
    "sc": (_rule("SuperCollider", r"\bSynthDef\b|^[ \t]{0,40}~\w+[ \t]*="), _rule("Scala", r"")),
    "scd": (_rule("SuperCollider", r"\bSynthDef\b|^[ \t]{0,40}[~(]"), _rule("Markdown", r"^#+[ \t]")),
    "sol": (_rule("Solidity", r"\bpragma[ \t]+solidity\b|\b(?:contract|library|interface)[ \t]+\w+"),),
    "spec": (
        _rule("RPM Spec", r"^(?:Name|Version|Summary|%\w+)[ \t:]"),
        _rule("Python", r"^(?:import|from)[ \t]\w|\bAnalysis\("),
        _rule("Ruby", r"^[ \t]{0,40}(?:describe|require|Gem::)"),
    ),
    "st": (
        _rule("StringTemplate", r"\A\s{0,40}(?:group|\w+\([^\n]{0,200}\)[ \t]*::=)"),
        _rule("Smalltalk", r"\bclass\b[^\n]{0,100}>>|![ \w]{1,80}methodsFor:|\b(?:ifTrue|ifFalse):|\bsubclass:"),
        _rule("Text", r""),
    ),
    "t": (
        _rule("Raku", r"^[ \t]{0,40}use[ \t]+v6\b"),
        _rule("Perl", r"\buse[ \t]+\w|\bmy[ \t]*[$@%(]|^#!.{0,80}perl|\bok\("),
        _rule("Turing", r"^[ \t]{0,40}(?:var|put|get)[ \t]"),
        _rule("Terra", r"^[ \t]{0,40}(?:local|terra)[ \t]"),
        _rule("Text", r""),
    ),
    "tpl": (
        _rule("Go Template", r"\{\{-?[ \t]*(?:\.|if|range|end|define|template|include)"),
        _rule("Smarty", r"\{(?:\*|\$|/?(?:if|foreach|include|block))"),
        _rule("HTML", r"<\w+[ >]"),
    ),
    "ts": (_rule("XML", r"\A\s{0,40}(?:<\?xml|<!DOCTYPE TS>|<TS\b)"), _rule("TypeScript", r"")),
    "tst": (_rule("GAP", r"^gap> "), _rule("Scilab", r"^[ \t]{0,40}//"), _rule("Text", r"")),
    "tsx": (_rule("XML", r"\A\s{0,40}<\?xml"), _rule("TSX", r"")),
    "typ": (_rule("XML", r"\A\s{0,40}<"), _rule("Typst", r"")),
    "v": (
        _rule(
            "Rocq Prover",
            r"^[ \t]{0,40}(?:Require|From[ \t]+\w+[ \t]+Require|Proof|Qed|Lemma|Theorem|"
            r"Definition|Fixpoint|Inductive|Notation|Section|Module)\b[^;\n]{0,400}\.?[ \t]*$",
        ),
        _rule("Verilog", r"^[ \t]{0,40}(?:module|endmodule|`\w+|always|initial|assign|input|output|wire|reg)\b|//|/\*"),
        _rule("V", r"^[ \t]{0,40}(?:pub[ \t]+)?(?:fn|module|struct|import)[ \t]+\w"),
    ),
    "vcf": (_rule("TSV", r"\A##fileformat=VCF"), _rule("vCard", r"\ABEGIN:VCARD")),
    "w": (_rule("CWeb", r"^@(?:<|\*|[ \t])"), _rule("OpenEdge ABL", r"")),
    "x": (
        _rule("Logos", r"^%(?:end|ctor|hook|group)\b"),
        _rule("RPC", r"\b(?:program|version)[ \t]+\w+[ \t]*\{|\bunion[ \t]+\w+[ \t]+switch\b"),
        _rule("Linker Script", r"\bSECTIONS\b|\bOUTPUT_(?:ARCH|FORMAT)\("),
        _rule("Haskell", r"^module[ \t]+\w|^\{$"),
    ),
    "yy": (_rule("JSON", r"\A\s{0,40}[\[{]\s{0,40}(?:[\"\]}\[{]|$)"), _rule("Yacc", r"")),
    **{str(n): (_rule("Roff", r"^[.'](?:[A-Za-z]{2}\b|\\\")"), _rule("Text", r"(?!)")) for n in range(1, 10)},
    "man": (_rule("Roff", r"^[.'](?:[A-Za-z]{2}\b|\\\")"), _rule("Text", r"")),
    "me": (_rule("Roff", r"^[.'](?:[A-Za-z]{2}\b|\\\")"), _rule("Text", r"")),
}

# Without a name: patterns that one language has and others lack, each with a weight; the whole word's weight counts once for
# each of the first hits (at most 4 a pattern), so that one odd line decides nothing.
_SIGNS: tuple[tuple[str, tuple[tuple[int, re.Pattern[str]], ...]], ...] = tuple(
    (language, tuple((weight, re.compile(pattern, re.MULTILINE)) for weight, pattern in signs))
    for language, signs in {
        "Python": (
            (4, r"^[ \t]{0,40}(?:async )?def \w+\([^\n]{0,300}:[ \t]*(?:#[^\n]{0,200})?$"),
            (3, r"^[ \t]{0,40}(?:async )?def \w+\($"),
            (2, r"^(?:from [.\w]+ import |import [\w.]+(?: as \w+)?$)"),
            (2, r"^[ \t]{0,40}class \w+(?:\([^)\n]{0,200}\))?:"),
            (2, r"^[ \t]{0,40}(?:elif [^\n]{1,200}:|except[^\n]{0,100}:|if [^\n{]{1,200}:)$"),
            (2, r"\bself\.\w|^[ \t]{0,40}@\w[\w.]*$"),
            (4, r"\"\"\""),
            (2, r"^[\w, ]{1,60} = [\w.\[({\"']{1,80}[^;{\n]{0,200}$"),
            (2, r"^[\w.]{1,60}\([^;{}\n]{0,200}\)?[ \t]*$"),
            (3, r"^[ \t]{0,40}for [\w, ()]{1,60} in [^{\n]{1,200}:$"),
            (1, r"^[ \t]{0,40}# "),
        ),
        "JavaScript": (
            (3, r"\b(?:const|let|var) (?:\w+|\{[^}\n]{1,200}\}) ?= ?require\("),
            (3, r"\bmodule\.exports\b|^exports\.\w|^[ \t]{0,40}export (?:default|const|function|class)\b"),
            (2, r"^[ \t]{0,40}(?:const|let|var) [\w{\[$]+(?: ?[=,;]|[^\n:]{0,200}\} ?=)"),
            (2, r"^import [^\n;]{1,200} from ['\"]"),
            (3, r"\bfunction ?\w*\([\w, $]{0,100}\) ?\{"),
            (2, r"=> ?[{(]|\)\.then\("),
            (3, r"===|!=="),
            (2, r"['\"]use strict['\"]"),
            (2, r"^[ \t]{0,40}(?:\* @(?:param|returns?|type)\b|//)"),
            (2, r"\b(?:console\.|document\.|window\.|undefined\b|prototype\.)"),
        ),
        "TypeScript": (
            (4, r"^[ \t]{0,40}(?:export )?(?:declare )?(?:interface|namespace|enum) \w+[^\n(]{0,100}\{"),
            (4, r"^[ \t]{0,40}(?:export )?(?:declare )?type \w+(?:<[^=\n]{1,100}>)? ?="),
            (4, r"\b\w+\??: ?(?:string|number|boolean|any|void|unknown|never|undefined|null)\b(?:\[\])?[;,)=| ]"),
            (
                3,
                r"^[ \t]{0,40}(?:private|public|protected|readonly|export declare|export abstract|"
                r"abstract) (?:readonly |static |async |const |function |class )?\w+[(:]",
            ),
            (3, r"\): ?(?:Promise<|[A-Z]\w*|\w+\[\]) ?[^\n]{0,60}\{"),
            (4, r"^export \* from |^export \{[^}]{1,400}\} from |^import [^\n;]{1,200} from ['\"][./\w-]{1,200}\.js['\"]"),
            (4, r"^(?:import|export) type |\bas (?:any|const|unknown|string)\b|^declare |\bkeyof \w"),
            (4, r"[(,] ?\w+\??: ?[A-Z]\w*(?:<[^>\n]{1,100}>)?[,)=]"),
            (2, r"^import [^\n;]{1,200} from ['\"]"),
            (3, r"===|!=="),
            (2, r"^[ \t]{0,40}(?:export )?(?:const|let|var|function) [\w{\[$]"),
        ),
        "C": (
            (3, r"^#[ \t]{0,20}include [<\"][\w/.+-]+\.h[>\"]"),
            (2, r"^#[ \t]{0,20}(?:ifndef|define|ifdef|endif)\b"),
            (2, r"^(?:static |extern |const |unsigned |struct )+[\w* ]{1,80}[({;=]"),
            (2, r"\b(?:malloc|free|sizeof|memcpy|memset|printf|fprintf|strlen)\b ?\("),
            (2, r"\b(?:struct|typedef|enum) \w+ ?[*{]|^typedef "),
            (2, r"->\w"),
            (1, r"\b(?:NULL|uint\d+_t|size_t|char \*)"),
        ),
        "C++": (
            (4, r"\bstd::\w|^using namespace \w"),
            (4, r"^[ \t]{0,40}template ?<"),
            (4, r"^#[ \t]{0,20}include <[a-z_]+>"),
            (3, r"^[ \t]{0,40}(?:public|private|protected) ?(?:slots ?)?:"),
            (3, r"\b\w+::~?\w+\("),
            (3, r"^[ \t]{0,40}(?:namespace|class) \w+[^;\n(]{0,100}\{?$"),
            (3, r"\b(?:nullptr|constexpr|noexcept|static_cast|dynamic_cast|reinterpret_cast|virtual|override|explicit|operator)\b"),
            (2, r"^#[ \t]{0,20}include [<\"][\w/.+-]+\.(?:h|hpp|hh)[>\"]"),
            (1, r"^#[ \t]{0,20}(?:ifndef|define|ifdef|endif)\b"),
            (1, r"->\w|::\w"),
        ),
        "Objective-C": (
            (6, r"^[ \t]{0,40}@(?:interface|implementation|protocol|property|synthesize|end)\b"),
            (4, r"^#import "),
            (3, r"^[-+] ?\(\w[\w *]{0,60}\)"),
        ),
        "Java": (
            (5, r"^package [\w.]+;"),
            (3, r"^import (?:static )?[\w.]+(?:\.\*)?;"),
            (6, r"^(?:open )?module [\w.]+ \{$"),
            (
                3,
                r"^[ \t]{0,40}(?:public|private|protected) (?:static |final |abstract |synchronized )*(?:class|"
                r"interface|enum|void|int|boolean|String|[A-Z]\w*(?:<[^>\n]{1,100}>)?) \w+",
            ),
            (2, r"^[ \t]{0,40}@(?:Override|Nullable|Test|Deprecated|SuppressWarnings|Inject)\b"),
            (2, r"\bthrows \w|\bnew [A-Z]\w*[(<]|\bSystem\.out\."),
        ),
        "C#": (
            (4, r"^using [A-Z][\w.]*;"),
            (4, r"^namespace [A-Z][\w.]*(?: ?\{|;)?[ \t]*$"),
            (3, r"\{ ?get;"),
            (
                2,
                r"^[ \t]{0,40}(?:public|private|internal|protected) (?:static |sealed |async |"
                r"override |virtual |partial |readonly )*(?:class|void|string|int|bool|[A-Z]\w*) ",
            ),
            (2, r"^[ \t]{0,40}\[\w+(?:\([^\n]{0,100}\))?\]$|\bvar \w+ = "),
        ),
        "Kotlin": (
            (5, r"^package [\w.]+$"),
            (4, r"^[ \t]{0,40}(?:(?:override|private|internal|public|suspend|inline) )*fun (?:<[^>\n]{1,60}> )?[\w.]+\("),
            (3, r"^[ \t]{0,40}(?:private |override |const |internal )*va[lr] \w+"),
            (3, r"^import [\w.]+(?:\.\*)?$"),
            (2, r"\b(?:data|sealed|companion) (?:class|object)\b|\?\.\w|\?:"),
        ),
        "Scala": (
            (5, r"^package [\w.]+$"),
            (4, r"^[ \t]{0,40}(?:(?:override|private|final|implicit) )*def \w+[^\n]{0,200}="),
            (3, r"^import [\w.]+(?:\.\{|\._|\.\w+$)"),
            (3, r"\b(?:case class|sealed trait|object \w+ (?:extends|\{)|trait \w+)"),
            (2, r"^[ \t]{0,40}(?:val|lazy val|implicit val) \w+"),
        ),
        "Swift": (
            (4, r"^[ \t]{0,40}(?:(?:public|private|open|internal|static|override|mutating|@\w+) )*func \w+[(<]"),
            (4, r"^import (?:Foundation|UIKit|SwiftUI|Swift|XCTest|Combine)\b"),
            (3, r"^[ \t]{0,40}(?:guard|if) let \w|\bextension \w+[^\n]{0,60}\{"),
            (2, r"^[ \t]{0,40}(?:let|var) \w+(?:: ?\[?\w+[\]?!]*)? ?[={]"),
        ),
        "Go": (
            (8, r"^package \w+[ \t]*(?://[^\n]{0,100})?$"),
            (5, r"^func (?:\(\w+ \*?\w+(?:\[\w+\])?\) )?\w+[\[(]"),
            (3, r"^import (?:\(|\"|\w+ \")"),
            (3, r"\b\w+(?:, \w+){0,4} := "),
            (3, r"\bif err != nil\b"),
            (2, r"^type \w+ (?:struct|interface|func|map)\b"),
            (2, r"^\t(?:return|defer|go|for|switch|var|if) ?"),
        ),
        "Rust": (
            (5, r"^[ \t]{0,40}(?:pub(?:\(\w+\))? )?(?:async |const |unsafe |extern \"C\" )*fn \w+(?:<[^>\n]{1,200}>)?\("),
            (4, r"^[ \t]{0,40}(?:pub )?use (?:crate|std|core|super|self|alloc|\w+)::"),
            (4, r"^[ \t]{0,40}#!?\[\w+"),
            (3, r"^[ \t]{0,40}impl(?:<[^>\n]{1,100}>)? "),
            (3, r"\blet mut \w|\b&(?:mut |'\w+ |self\b)|\b(?:Some|Ok|Err)\("),
            (3, r"^[ \t]{0,40}(?:pub(?:\(\w+\))? )?(?:struct|enum|trait|mod) \w+"),
            (4, r"^[ \t]{0,40}//[/!]"),
            (3, r"^[ \t]{0,40}(?:pub )?(?:const|static) \w+: ?&"),
            (2, r"\b\w+!\("),
            (2, r"\bmatch \w[^\n]{0,100}\{$|\.unwrap\(\)"),
        ),
        "Ruby": (
            (4, r"^[ \t]{0,40}def (?:self\.)?\w+[?!=]?(?:\([^\n]{0,200}\))?[ \t]*$"),
            (3, r"^[ \t]{0,40}end[ \t]*$"),
            (3, r"^[ \t]{0,40}require(?:_relative)? ['\"]"),
            (3, r"\bdo ?\|[\w, ]{1,60}\||\.each\b"),
            (3, r"^[ \t]{0,40}(?:class \w+(?:::\w+)*(?: < [\w:]+)?|module [A-Z]\w*)[ \t]*$"),
            (2, r"\battr_(?:reader|accessor|writer)\b|@\w+ ?=|^[ \t]{0,40}(?:elsif|unless)\b|# frozen_string_literal"),
        ),
        "PHP": ((20, r"\A\s{0,40}<\?(?:php|=)"), (8, r"<\?php\b"), (2, r"\$this->|\$\w+ ?= ?")),
        "Perl": (
            (5, r"^[ \t]{0,40}use (?:strict|warnings|utf8|5[\d.]*|[A-Z]\w*(?:::\w+)*)[^\n]{0,100};"),
            (4, r"^[ \t]{0,40}my [$@%(]"),
            (4, r"^package [\w:]+;"),
            (3, r"^[ \t]{0,40}sub \w+ ?\{?$"),
            (3, r"=~ ?[ms/]|\$_\b|@_\b|^=(?:head1|pod|cut)\b"),
        ),
        "Shell": (
            (4, r"^[ \t]{0,40}(?:if|elif|while) \[\[? "),
            (3, r"^[ \t]{0,40}(?:fi|done|esac|then|do)[ \t]*$|; ?(?:then|do)[ \t]*$"),
            (3, r"\$\{?\w+\}?\b|\$\("),
            (2, r"^[ \t]{0,40}(?:echo|export|local|set -|source|cd|exit) "),
            (2, r"^\w+\(\) ?\{?$"),
        ),
        "Lua": (
            (4, r"^[ \t]{0,40}local (?:function )?\w+"),
            (3, r"^[ \t]{0,40}function [\w.:]+\("),
            (3, r"\bthen[ \t]*$|^[ \t]{0,40}end[ \t]*[,)]?$"),
            (2, r"^[ \t]{0,40}--(?:\[\[|\s)|~=|\.\. ?['\"]"),
        ),
        "R": (
            (5, r"\w ?<- ?(?:function|c|list|\w)"),
            (4, r"^[ \t]{0,40}(?:library|require|setwd)\("),
            (2, r"%>%|\$\w+ ?\[|\bdata\.frame\("),
        ),
        "Julia": (
            (4, r"^[ \t]{0,40}function [\w.!]+\([^\n]{0,200}$"),
            (4, r"^using [A-Z]\w+|^[ \t]{0,40}(?:mutable )?struct \w+"),
            (2, r"^[ \t]{0,40}end[ \t]*$|::[A-Z]\w+"),
        ),
        "Haskell": (
            (6, r"^module [A-Z][\w.]* ?(?:\(|where|$)"),
            (4, r"^import (?:qualified )?[A-Z][\w.]*"),
            (4, r"^\w+ :: [^\n]{1,200}$"),
            (3, r"^\{-# LANGUAGE "),
            (2, r"^data \w+|<- |\bwhere$"),
        ),
        "OCaml": (
            (4, r"^[ \t]{0,40}let (?:rec )?\w+[^=\n]{0,100}=[^\n]{0,200}(?:in)?$"),
            (4, r"^[ \t]{0,40}(?:open [A-Z]\w*|module [A-Z]\w*)"),
            (3, r"\bmatch [^\n]{1,100} with\b|^[ \t]{0,40}\| [^\n]{1,100}->"),
        ),
        "Elixir": ((6, r"^[ \t]{0,40}defmodule [\w.]+ do$"), (4, r"^[ \t]{0,40}defp? \w+[?!]?[^\n]{0,200} do$|\|> ")),
        "Erlang": ((8, r"^-module\(\w+\)\."), (4, r"^-(?:export|include|define|record|spec)\b"), (2, r"->$")),
        "Clojure": ((6, r"^\(ns [\w.-]+"), (4, r"^[ \t]{0,40}\((?:defn-?|def|defmacro|let|require) ")),
        "Emacs Lisp": ((6, r"^\((?:defun|defvar|defcustom|require|provide|setq) "), (4, r"\(interactive\b|\A;;; \S+\.el")),
        "SQL": (
            (
                5,
                r"(?i)^[ \t]{0,40}(?:create (?:or replace )?(?:temporary )?(?:table|view|index|"
                r"function|database|schema)|insert into|alter table|drop (?:table|view))\b",
            ),
            (3, r"(?i)^[ \t]{0,40}(?:select|update|delete from|begin|commit)\b[^={}\n]{0,200}"),
            (2, r"(?i)\b(?:primary key|not null|varchar|foreign key)\b"),
        ),
        "CSS": (
            (4, r"^[ \t]{0,40}(?:[.#]?[a-z][\w-]*|\*|:root)(?:[ ,>:.#\[][^{};\n()=]{0,200})?\{[ \t]*$"),
            (
                3,
                r"^[ \t]{0,40}-?(?:[a-z]+-)*(?:color|width|height|margin|padding|display|font|"
                r"background|border|position|top|left|content)(?:-[a-z]+)*:[^{};\n]{1,200};",
            ),
            (3, r"^@(?:media|import|charset|font-face|keyframes)\b"),
        ),
        "HTML": (
            (20, r"(?i)\A\s{0,40}(?:<!--[^>]{0,2000}-->\s{0,40})?<(?:!doctype html|html)\b"),
            (3, r"(?i)</?(?:div|span|body|head|html|table|script|p|a|ul|li)\b"),
        ),
        "XML": ((20, r"\A\s{0,40}<\?xml\b"), (4, r"<[\w-]+:[\w-]+|xmlns(?::\w+)?=")),
        "TeX": (
            (8, r"^[ \t]{0,40}\\(?:documentclass|begin\{document\}|usepackage)\b"),
            (3, r"\\(?:begin|end|section|subsection|cite|label|ref)\{"),
        ),
        "Makefile": (
            (5, r"^\.PHONY ?:"),
            (3, r"^[\w./%-]{1,100} ?:(?: [^=\n]{0,200})?\n\t"),
            (3, r"^[A-Z_]{2,60} ?[:+?]?= ?[^\n]{0,200}$"),
            (3, r"\$\([A-Z_]+\)|\$[@<^]"),
        ),
        "Dockerfile": (
            (8, r"\A(?:#[^\n]{0,200}\n|ARG [^\n]{1,200}\n|\s){0,20}FROM \S+"),
            (3, r"^(?:RUN|COPY|ENTRYPOINT|CMD|WORKDIR|ENV|EXPOSE|ADD) "),
        ),
        "CMake": (
            (8, r"(?i)^[ \t]{0,40}(?:cmake_minimum_required|project|add_executable|add_library|target_link_libraries|find_package) ?\("),
        ),
        "JSON": (
            (6, r"\A\s{0,40}[\[{]\s{0,40}(?:\"(?:[^\"\\\n]|\\.){0,200}\"\s{0,40}[:,\]]|[\[{\]}])"),
            (1, r"^[ \t]{0,200}\"(?:[^\"\\\n]|\\.){1,100}\": ?[\[{\"\d tfn-]"),
        ),
        "YAML": ((5, r"\A(?:#[^\n]{0,200}\n|\s){0,40}---[ \t]*$"), (2, r"^[ ]{0,40}(?:- )?[\w.-]{1,80}:(?: [^\n{};]{0,200})?$")),
        "TOML": ((4, r"^\[\[?[\w.\"-]{1,80}\]\]?[ \t]*$"), (2, r"^[\w-]{1,60} = (?:\"|\[|true|false|\d|\{)")),
        "INI": ((3, r"^\[[\w .:-]{1,80}\][ \t]*$"), (1, r"^[\w.-]{1,60} ?= ?[^\"\[{\n][^\n]{0,200}$"), (1, r"^;")),
        "reStructuredText": (
            (6, r"^[ \t]{0,40}\.\. (?:[\w-]+::|_|\[)"),
            (4, r"^\S[^\n]{0,100}\n(?:={3,}|-{3,}|~{3,}|\^{3,}|\*{3,}|\+{3,})[ \t]*$"),
            (4, r":(?:ref|class|func|doc|meth|mod|gh|issue|pr|\w+):`|``[^`\n]{1,80}``"),
            (1, r"^[A-Z][a-z]{1,20} [^\n;{}=]{20,200}[.,]?$"),
        ),
        "Markdown": (
            (3, r"^#{1,6} [^\n]{1,100}$"),
            (6, r"^```\w*[ \t]*$"),
            (5, r"\[[^\]\n]{1,100}\]\((?:https?:|\.|#|/)"),
            (2, r"^[*-] [A-Z`\[][^\n]{1,200}$"),
            (1, r"^[A-Z][a-z]{1,20} [^\n;{}=]{20,200}[.,]?$"),
        ),
        "Roff": ((8, r"\A(?:[.']\\\"[^\n]{0,200}\n|\s){0,60}[.'](?:TH|Dd)\b"), (2, r"^\.(?:SH|PP|TP|B|Sh|Nm|It)\b")),
        "Diff": ((10, r"^diff --git a/|^--- \S[^\n]{0,200}\n\+\+\+ \S"), (2, r"^@@ -\d+")),
    }.items()
)
_LEAST, _HITS = 6, 4  # the weight that a guess by content alone must reach, and hits of one pattern that count

_EMACS = re.compile(r"-\*-[ \t]*(?:mode:[ \t]*)?([\w+#.-]{1,40})[ \t]*(?:;[^\n]{0,200})?-\*-", re.IGNORECASE)
_EMACS_MODE = re.compile(r"-\*-[^\n]{0,200}?\bmode:[ \t]*([\w+#.-]{1,40})", re.IGNORECASE)
_VIM = re.compile(r"\b(?:vi|vim|ex):[^\n]{0,200}?\b(?:ft|filetype|syntax)=([\w+#.-]{1,40})")
_SHEBANG = re.compile(r"#![ \t]*(\S{1,200})([^\n]{0,200})")
_EXEC = re.compile(r"^[ \t]*(?:':'[ \t]*)?exec[ \t]+(?:/\S{1,100}/)?(\w+)\b[^\n]{0,100}\$0", re.MULTILINE)


_VERSION = "0123456789."  # what follows an interpreter's name


def _mode(text: str) -> str | None:
    """The language that an Emacs or Vim mode line names, in the first or last five lines (editors look there)."""
    if "-*-" not in text[:1000] and "vim:" not in text and "ft=" not in text and "vi:" not in text:
        return None
    first = "\n".join(text[:2000].split("\n", 5)[:5])
    last = "\n".join(text[-1000:].rsplit("\n", 5)[-5:])
    match = _EMACS_MODE.search(first) or _EMACS.search(first) or _VIM.search(first) or _VIM.search(last)
    if match is None:
        return None
    name = match.group(1).lower()
    return MODES.get(name) or KNOWN.get(name)


def _shebang(text: str) -> str | None:
    """The language of the interpreter that the first line names, through `env`, versions and a shell that calls another."""
    match = _SHEBANG.match(text)
    if match is None:
        return None
    words = [match.group(1), *match.group(2).split()]
    if words[0].rsplit("/", 1)[-1] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word] or [""]
    name = words[0].rsplit("/", 1)[-1].lower().rstrip(_VERSION) if words else ""
    if name == "sh" and (other := _EXEC.search(text[:1000])):  # a polyglot: sh that hands the file to its real interpreter
        return _INTERPRETERS.get(other.group(1).lower().rstrip(_VERSION)) or "Shell"
    return _INTERPRETERS.get(name)


def ending_of(path: str) -> str:
    """The ending of a path's last part in small letters, without the dot; templates' own (`.in`, `.tmpl`) are looked through."""
    name = PurePosixPath(path).name.lower()
    for template in (".in", ".tmpl", ".template", ".dist", ".sample", ".example", ".orig"):
        if name.endswith(template) and "." in name[: -len(template)].lstrip("."):
            name = name[: -len(template)]
    stem, dot, ending = name.rpartition(".")
    return ending if dot and (stem or ending) else ""


def by_content(text: str) -> str | None:
    """The language that a text's own words give away; None where none stands out."""
    head = text[:HEAD]
    best, top, second = None, 0, 0
    for language, signs in _SIGNS:
        score = 0
        for weight, pattern in signs:
            found = pattern.finditer(head)
            for _ in zip(range(_HITS), found, strict=False):
                score += weight
        if score > top:
            best, top, second = language, score, top
        elif score > second:
            second = score
    return best if top >= _LEAST and top > second else None


def language_of(path: str, text: str | None = None) -> str | None:
    """The language of a file, or None where it is none we know. `text` (its beginning suffices) may be None: by name alone."""
    name = PurePosixPath(path).name
    head = text[:HEAD] if text is not None else ""
    if head and (mode := _mode(head if len(head) < HEAD or text is None else head + text[-1000:])):
        return mode
    if whole := NAMES.get(name.lower()):
        return whole
    if name.lower() in _LISTS:
        return None
    if name.lower().startswith(("dockerfile.", "makefile.", "jenkinsfile.", "vagrantfile.")):
        return NAMES[name.lower().split(".", 1)[0]]
    ending = ending_of(path)
    if head.startswith("#!") and (found := _shebang(head)) and ending in ("", "in", "cgi", "fcgi", "command", "t", "pl", "tool"):
        return found
    if ending in _AMBIGUOUS and head:
        for language, pattern in _AMBIGUOUS[ending]:
            if pattern.search(head):
                return language
        return None if ending.isdigit() else LANGUAGES.get(ending)
    if ending in LANGUAGES and not (ending.isdigit() and text is None):
        return LANGUAGES[ending]
    if ending or not head:
        return None
    return by_content(head)


def is_binary(data: bytes) -> bool:
    """Whether bytes are no text: a NUL in the first 8,000 (git's rule), unless a byte order mark says UTF-16 or UTF-32."""
    return b"\0" in data[:8000] and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
