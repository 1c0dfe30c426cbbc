// SPDX-License-Identifier: LGPL-2.1-or-later
// visit - what programs that use go-libvirt do: open, list, look up, many calls at once, wait for an event.
//
// usage: visit SOCKET URI; prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

const (
	callers  = 8
	calls    = 50
	patience = 20 * time.Second
)

// Report is what the test reads.
type Report struct {
	Library  string   `json:"library"`
	URI      string   `json:"uri"`
	Names    []string `json:"names"`
	UUID     string   `json:"uuid"`
	XMLSizes []int    `json:"xml_sizes"` // of all parallel calls, each different size once
	Parallel int      `json:"parallel"`  // how many of these were answered
	Missing  string   `json:"missing"`   // the error for a domain that is not there
	Events   []int32  `json:"events"`    // of the domain, in order
	States   []int32  `json:"states"`    // before, after the suspension, after the resumption
}

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "visit: %s: %v\n", what, err)
		os.Exit(1)
	}
}

// many asks for the same XML from several goroutines.
func many(connection *libvirt.Libvirt, domain libvirt.Domain, report *Report) {
	var group sync.WaitGroup
	var mutex sync.Mutex
	sizes := map[int]bool{}
	for i := 0; i < callers; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for k := 0; k < calls; k++ {
				text, err := connection.DomainGetXMLDesc(domain, 0)
				check("DomainGetXMLDesc", err)
				mutex.Lock()
				sizes[len(text)] = true
				report.Parallel++
				mutex.Unlock()
			}
		}()
	}
	group.Wait()
	for size := range sizes {
		report.XMLSizes = append(report.XMLSizes, size)
	}
}

func state(connection *libvirt.Libvirt, domain libvirt.Domain, report *Report) {
	now, _, err := connection.DomainGetState(domain, 0)
	check("DomainGetState", err)
	report.States = append(report.States, now)
}

// watch suspends and resumes the domain, and sees both as events.
func watch(connection *libvirt.Libvirt, domain libvirt.Domain, report *Report) {
	scope, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	events, err := connection.LifecycleEvents(scope)
	check("LifecycleEvents", err)
	state(connection, domain, report)
	check("DomainSuspend", connection.DomainSuspend(domain))
	state(connection, domain, report)
	check("DomainResume", connection.DomainResume(domain))
	state(connection, domain, report)
	for len(report.Events) < 2 {
		event, open := <-events
		if !open {
			check("events", fmt.Errorf("only %d came", len(report.Events)))
		}
		report.Events = append(report.Events, event.Event)
	}
}

func main() {
	if len(os.Args) != 3 {
		check("usage", fmt.Errorf("visit SOCKET URI"))
	}
	time.AfterFunc(3*patience, func() { check("patience", fmt.Errorf("it takes too long")) })
	connection := libvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(os.Args[1])))
	check("connect", connection.ConnectToURI(libvirt.ConnectURI(os.Args[2])))

	var report Report
	var err error
	report.Library, err = connection.Version()
	check("version", err)
	report.URI, err = connection.ConnectGetUri()
	check("ConnectGetUri", err)
	domains, err := connection.Domains()
	check("Domains", err)
	for _, each := range domains {
		report.Names = append(report.Names, each.Name)
	}
	domain, err := connection.DomainLookupByName("test")
	check("DomainLookupByName", err)
	report.UUID = fmt.Sprintf("%x", domain.UUID)
	_, err = connection.DomainLookupByName("nobody")
	if err != nil {
		report.Missing = err.Error()
	}
	many(connection, domain, &report)
	watch(connection, domain, &report)
	check("disconnect", connection.Disconnect())
	check("report", json.NewEncoder(os.Stdout).Encode(report))
}
