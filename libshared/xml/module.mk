# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += xml
xml_SOURCES  := libshared/xml/document.cc
xml_PACKAGES := XML
