/* A CUDA runtime on host memory, for testing the ctypes layer: real addresses, a real queue, strict rules.
 *
 * Work queued on a stream is done by cudaStreamSynchronize, so a forgotten one shows. Every call that needs
 * a device fails in a thread that has not called cudaSetDevice. Whatever is created is counted by fake_live.
 */
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, CAPTURE_FAILED = 901 };
enum { MAX_OPS = 64, HOST_TO_DEVICE = 1, DEVICE_TO_HOST = 2 };

typedef struct {
    void *to;
    const void *from;
    size_t size;
    void (*kernel)(void *);
    void *argument;
} Op;
typedef struct {
    Op ops[MAX_OPS];
    int count;
    int is_capturing;
} Queue;

static __thread int device_set = 0;
static int live = 0, devices = 1, refuse_capture = 0, refuse_memory = 0;

int fake_live(void) { return live; }
void fake_set(int new_devices, int new_refuse_capture, int new_refuse_memory) {
    devices = new_devices;
    refuse_capture = new_refuse_capture;
    refuse_memory = new_refuse_memory;
}

static int push(Queue *queue, Op op) {
    if (!device_set) return INVALID_DEVICE;
    if (!queue || queue->count == MAX_OPS) return INVALID_VALUE;
    queue->ops[queue->count++] = op;
    return OK;
}
int fake_enqueue(void *stream, void (*kernel)(void *), void *argument) {
    Op op = {0, 0, 0, kernel, argument};
    return push(stream, op);
}
static int make(void **pointer, size_t size) {
    if (!device_set) return INVALID_DEVICE;
    if (refuse_memory) return OUT_OF_MEMORY;
    *pointer = calloc(1, size ? size : 1);
    live++;
    return OK;
}
static int drop(void *pointer) {
    if (!pointer) return INVALID_VALUE;
    free(pointer);
    live--;
    return OK;
}

int cudaGetDeviceCount(int *count) { *count = devices; return devices ? OK : 100; }
int cudaSetDevice(int device) { device_set = device < devices; return device_set ? OK : INVALID_DEVICE; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 16 : -1;
    return device_set && *value >= 0 && device == 0 ? OK : INVALID_VALUE;
}
int cudaRuntimeGetVersion(int *version) { *version = 12060; return OK; }
int cudaGetLastError(void) { return OK; }
const char *cudaGetErrorName(int error) { return error == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : "cudaError"; }
const char *cudaGetErrorString(int error) { return error == INVALID_DEVICE ? "no device set in this thread" : "fake"; }
int cudaMalloc(void **pointer, size_t size) { return make(pointer, size); }
int cudaMallocHost(void **pointer, size_t size) { return make(pointer, size); }
int cudaFree(void *pointer) { return device_set ? drop(pointer) : INVALID_DEVICE; }
int cudaFreeHost(void *pointer) { return drop(pointer); }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    Op op = {to, from, size, 0, 0};
    return kind == HOST_TO_DEVICE || kind == DEVICE_TO_HOST ? push(stream, op) : INVALID_VALUE;
}
int cudaStreamCreateWithFlags(void **stream, unsigned flags) {
    return flags == 1 ? make(stream, sizeof(Queue)) : INVALID_VALUE;
}
int cudaStreamDestroy(void *stream) { return drop(stream); }
int cudaStreamSynchronize(void *stream) {
    Queue *queue = stream;
    if (!device_set || queue->is_capturing) return CAPTURE_FAILED;
    for (int i = 0; i < queue->count; i++) {
        Op op = queue->ops[i];
        if (op.kernel) op.kernel(op.argument);
        else memcpy(op.to, op.from, op.size);
    }
    queue->count = 0;
    return OK;
}
int cudaStreamBeginCapture(void *stream, int mode) {
    Queue *queue = stream;
    if (queue->count || mode != 1) return INVALID_VALUE;
    queue->is_capturing = 1;
    return OK;
}
int cudaStreamEndCapture(void *stream, void **graph) {
    Queue *queue = stream;
    queue->is_capturing = 0;
    if (refuse_capture) {
        queue->count = 0;
        return CAPTURE_FAILED;
    }
    int error = make(graph, sizeof(Queue));
    if (!error) memcpy(*graph, queue, sizeof(Queue));
    queue->count = 0;
    return error;
}
int cudaGraphInstantiate(void **executable, void *graph, unsigned long long flags) {
    if (flags) return INVALID_VALUE;
    int error = make(executable, sizeof(Queue));
    if (!error) memcpy(*executable, graph, sizeof(Queue));
    return error;
}
int cudaGraphLaunch(void *executable, void *stream) {
    Queue *graph = executable;
    for (int i = 0; i < graph->count; i++) {
        int error = push(stream, graph->ops[i]);
        if (error) return error;
    }
    return OK;
}
int cudaGraphDestroy(void *graph) { return drop(graph); }
int cudaGraphExecDestroy(void *executable) { return drop(executable); }
