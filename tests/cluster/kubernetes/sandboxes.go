package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"
	cri "k8s.io/cri-client/pkg"
)

// newRemoveSandboxesCommand makes the one thing that needs a CRI client here: have a runtime remove every pod it has,
// with its containers, mounts, network namespace and address, each by the runtime's own way to do so.
func newRemoveSandboxesCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "remove-sandboxes unix:///run/….sock",
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, args []string) error {
			return removeSandboxes(command.Context(), args[0])
		},
	}
}

func removeSandboxes(ctx context.Context, endpoint string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	runtime, err := cri.NewRemoteRuntimeService(endpoint, 20*time.Second, nil, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, err)
	}
	failures := make([]error, len(sandboxes))
	var all sync.WaitGroup
	for i, sandbox := range sandboxes {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := runtime.StopPodSandbox(ctx, sandbox.Id); err != nil {
				failures[i] = fmt.Errorf("stop %s/%s: %w", sandbox.Metadata.Namespace, sandbox.Metadata.Name, err)
				return
			}
			if err := runtime.RemovePodSandbox(ctx, sandbox.Id); err != nil {
				failures[i] = fmt.Errorf("remove %s/%s: %w", sandbox.Metadata.Namespace, sandbox.Metadata.Name, err)
			}
		}()
	}
	all.Wait()
	return errors.Join(failures...)
}
