"""Permissive licences, and whether a licence expression allows use under a list.

`PERMISSIVE` is the Blue Oak Council's list of permissive licences (version 15, data under CC0-1.0; its grades Model to Lead, all
of them), which The Stack v2 starts from (Lozhkov et al. 2024, arXiv 2402.19173, section 2.2). It adds what ScanCode classes as
permissive or public domain; of those only the `ADDED` are here, since SPDX has no such classes.
"""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache

from boolean import Expression, ParseError
from license_expression import AND, OR, ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing

_BLUE_OAK = """
0BSD AAL Adobe-2006 ADSL AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Afmparse AMDPLPA AML AMPAS ANTLR-PD ANTLR-PD-fallback Apache-1.0
Apache-1.1 Apache-2.0 APAFML Artistic-1.0 Artistic-1.0-cl8 Artistic-1.0-Perl Artistic-2.0 Bahyph Barr bcrypt-Solar-Designer Beerware
blessing BlueOak-1.0.0 Borceux BSD-1-Clause BSD-2-Clause BSD-2-Clause-Darwin BSD-2-Clause-FreeBSD BSD-2-Clause-NetBSD
BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause BSD-3-Clause-Attribution BSD-3-Clause-Clear BSD-3-Clause-HP BSD-3-Clause-LBNL
BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License-2014 BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI
BSD-3-Clause-Sun BSD-4-Clause BSD-4-Clause-Shortened BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.5 bzip2-1.0.6 CC0-1.0
CECILL-B CFITSIO check-cvs ClArtistic Clips CNRI-Jython CNRI-Python CNRI-Python-GPL-Compatible Condor-1.1 Crossword CrystalStacker
Cube curl diffmark DOC DSDP ECL-1.0 ECL-2.0 EFL-1.0 EFL-2.0 eGenix Entessa Fair FSFAP FSFUL FSFULLR FTL fwlw Giftware GLWTPL hdparm
HPND HPND-export-US HPND-Fenneberg-Livingston HPND-sell-regexpr HTMLTIDY IBM-pibs ICU IJG IJG-short ImageMagick Info-ZIP Intel
Intel-ACPI ISC Jam JasPer-2.0 Kazlib Leptonica Libpng libpng-2.0 libtiff Linux-OpenIB LPL-1.0 LPL-1.02 LPPL-1.3c LZMA-SDK-9.22
McPhee-slideshow MirOS MIT MIT-0 MIT-advertising MIT-CMU MIT-enna MIT-feh MIT-Modern-Variant MIT-open-group MIT-testregex MIT-Wu
MITNFA mpich2 MS-PL MTLL MulanPSL-1.0 MulanPSL-2.0 Multics Mup NAIST-2003 NASA-1.3 Naumen NBPL-1.0 NCSA Net-SNMP NetCDF Newsletr
NICTA-1.0 NIST-Software NLPL NRL NTP NTP-0 OFFIS OGL-Canada-2.0 OGTSL OLDAP-1.1 OLDAP-1.2 OLDAP-1.3 OLDAP-1.4 OLDAP-2.0 OLDAP-2.0.1
OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3 OLDAP-2.4 OLDAP-2.5 OLDAP-2.6 OLDAP-2.7 OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01
Plexus PostgreSQL PSF-2.0 psutils Python-2.0 python-ldap Qhull Rdisc RSA-MD Ruby Saxpath SGI-B-2.0 SHL-0.5 SMLNJ snprintf Spencer-86
Spencer-94 Spencer-99 SSH-short SunPro SWL Symlinks TCL TCP-wrappers TU-Berlin-1.0 TU-Berlin-2.0 UCAR Unicode-DFS-2015
Unicode-DFS-2016 UnixCrypt Unlicense UPL-1.0 Vim VSL-1.0 W3C W3C-19980720 W3C-20150513 Wsuipa WTFPL X11 Xerox Xfig XFree86-1.1
xinetd xlock Xnet xpp XSkat Zed Zend-2.0 Zlib zlib-acknowledgement ZPL-1.1 ZPL-2.0 ZPL-2.1
"""

# Newer versions of licences that the list has, and dedications to the public domain.
ADDED = ("Python-2.0.1", "Unicode-3.0", "CC-PDDC", "HPND-sell-variant", "HPND-Markus-Kuhn")

PERMISSIVE: tuple[str, ...] = (*_BLUE_OAK.split(), *ADDED)


def _granted(node: Expression, allowed: Container[str]) -> bool:
    if isinstance(node, AND):
        return all(_granted(part, allowed) for part in node.args)
    if isinstance(node, OR):
        return any(_granted(part, allowed) for part in node.args)
    if isinstance(node, LicenseWithExceptionSymbol):  # an exception only adds permissions
        return str(node) in allowed or node.license_symbol.key in allowed
    return isinstance(node, LicenseSymbol) and node.key in allowed


@lru_cache(1 << 12)
def _parse(expression: str) -> Expression | None:
    try:
        return get_spdx_licensing().parse(expression[:1000])
    except (ExpressionError, ParseError):
        return None


def is_allowed(expression: str | None, allowed: Container[str] = frozenset(PERMISSIVE)) -> bool:
    """Whether an SPDX expression lets one use the work under licences of `allowed` alone: every part of an AND, one part of an
    OR. None, and what is no expression, is not allowed."""
    if expression is None:
        return False
    if expression in allowed:
        return True
    parsed = _parse(expression)
    return parsed is not None and _granted(parsed, allowed)
