// SPDX-License-Identifier: LGPL-2.1-or-later
// xml_host - what a document of libvirt's says about the host: its files, its programs, its devices.
//
// Every value of an attribute and every text that begins with a slash is a path of the host, wherever it stands; so
// an element that a newer libvirt has is no gap. Three short lists, each entry with its reason, say the rest:
//
//   what begins with a slash and is no path of the host, such as the command line of the guest's kernel
//   what libvirt takes for a path even if it does not begin with one: relative to where its daemon runs
//   what reaches the host without a path, such as a PCI device, a socket to a screen, or the header of an image
//
// What is in <metadata> of a machine or network is what applications keep there. libvirt does not look at it.
//
// Source: libvirt's documentation of its XML and the schemas of its release 9.0.0, and what newer ones have added.
//         libvirt finds an attribute by its name whatever its namespace is, and some elements: here, all count.
// Trust:  the document is the client's.
// Limits: those of libshared/xml/document.h.
#pragma once

#include "libshared/xml/document.h"
#include "policy/xml_rule.h"

namespace virtgate::workerd::worker {

// What a call does with the images that its document names: those of a machine's disks are used, and what is written
// in them is done. Those of a snapshot, a backup or a copy are made, or used if they are to be there already.
enum class Images : std::uint8_t { used, made, reused };

// Adds what is in the document. Of flaws and powers that are already there the first stays.
void add_host_facts(const xml::XmlDocument& document, Images images, policy::XmlFacts& facts);

}  // namespace virtgate::workerd::worker
