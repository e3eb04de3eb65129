// Informers, typed clients, leader election and a work queue of client-go against the cluster of KUBECONFIG.
// Prints "ok" when all of it was as a cluster does it.
package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const (
	namespace = "informers"
	count     = 120
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%T: %v\n", err, err)
		os.Exit(1)
	}
}

func until(what string, so func() bool) {
	for i := 0; i < 1200; i++ {
		if so() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	check(fmt.Errorf("%s did not come about", what))
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := must(clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG")))
	config.QPS, config.Burst = 500, 500
	// As controllers do: protobuf for built-in types.
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client := kubernetes.NewForConfigOrDie(config)
	must(client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}))

	var added, updated, deleted atomic.Int64
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	maps, deployments := factory.Core().V1().ConfigMaps(), factory.Apps().V1().Deployments()
	must(maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { added.Add(1) },
		UpdateFunc: func(any, any) { updated.Add(1) },
		DeleteFunc: func(any) { deleted.Add(1) },
	}))
	deployments.Informer()
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			check(fmt.Errorf("%v was not synced", kind))
		}
	}

	// What is written is heard of.
	api := client.CoreV1().ConfigMaps(namespace)
	for i := range count {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%03d", i), Labels: map[string]string{"odd": fmt.Sprint(i % 2)}}}
		must(api.Create(ctx, object, metav1.CreateOptions{}))
	}
	// One more is there: the root authority every namespace has.
	until("hearing of all that was made", func() bool { return added.Load() >= count })
	check(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object := must(api.Get(ctx, "c-000", metav1.GetOptions{}))
		object.Data = map[string]string{"a": "1"}
		_, err := api.Update(ctx, object, metav1.UpdateOptions{})
		return err
	}))
	must(api.Patch(ctx, "c-000", types.StrategicMergePatchType, []byte(`{"data":{"b":"2"}}`), metav1.PatchOptions{}))
	until("hearing of both changes", func() bool { return updated.Load() >= 2 })
	cached := must(maps.Lister().ConfigMaps(namespace).Get("c-000"))
	if cached.Data["a"] != "1" || cached.Data["b"] != "2" {
		check(fmt.Errorf("the cache has %v", cached.Data))
	}
	check(api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "odd=1"}))
	until("hearing of what went", func() bool { return deleted.Load() == count/2 })
	left := must(maps.Lister().List(labels.SelectorFromSet(labels.Set{"odd": "0"})))
	if len(left) != count/2 {
		check(fmt.Errorf("%d are left", len(left)))
	}

	// Errors are those client-go knows.
	_, err := api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c-000"}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		check(fmt.Errorf("a second c-000: %v", err))
	}
	stale := cached.DeepCopy()
	stale.ResourceVersion = "1"
	if _, err = api.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		check(fmt.Errorf("a stale write: %v", err))
	}
	if _, err = api.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		check(fmt.Errorf("none: %v", err))
	}
	invalid := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "bad"}}
	if _, err = client.AppsV1().Deployments(namespace).Create(ctx, invalid, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		check(fmt.Errorf("a Deployment of nothing: %v", err))
	}

	// One leads.
	leads := make(chan struct{})
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Name: "lead", Namespace: namespace}, Client: client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"},
	}
	elected, resign := context.WithCancel(ctx)
	go leaderelection.RunOrDie(elected, leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(leads) },
			OnStoppedLeading: func() {},
		},
	})
	select {
	case <-leads:
	case <-time.After(60 * time.Second):
		check(fmt.Errorf("nobody leads"))
	}
	resign()
	check(client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}))
	until("the end of the namespace", func() bool {
		_, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	fmt.Println("ok")
}
