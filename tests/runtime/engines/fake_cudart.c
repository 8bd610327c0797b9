/* As much of CUDA's runtime library as an engine uses, on this machine's own memory, and as unkind as the real one:
   what is copied or run lands only when the stream is synchronised, and fresh memory holds no zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_OF_MEMORY = 2, INVALID = 1, INSUFFICIENT_DRIVER = 35, ILLEGAL_ADDRESS = 700 };

typedef struct Work {
    void *to;
    const void *from;
    size_t size;
    void (*call)(void *);
    void *argument;
    struct Work *next;
} Work;
typedef struct { Work *first, *last; } Stream;
typedef struct { size_t size; size_t device; } Head;

static long live;          /* allocations and streams that nobody gave back */
static size_t used;        /* bytes of the device */
static size_t budget = (size_t)1 << 34;
static int broken, devices = 1;

long fake_live(void) { return live; }
void fake_reset(void) { live = 0; used = 0; budget = (size_t)1 << 34; broken = 0; devices = 1; }
void fake_budget(size_t bytes) { budget = bytes; }
void fake_break(int code) { broken = code; }
void fake_devices(int count) { devices = count; }

static void *fresh(size_t size, size_t device) {
    Head *head = malloc(sizeof(Head) + size);
    head->size = size;
    head->device = device;
    memset(head + 1, 0xff, size);
    live++;
    used += device ? size : 0;
    return head + 1;
}

static int gone(void *address, size_t device) {
    Head *head = (Head *)address - 1;
    if (head->device != device) return INVALID;
    memset(address, 0xee, head->size);
    used -= device ? head->size : 0;
    live--;
    free(head);
    return 0;
}

static void add(Stream *stream, Work work) {
    Work *kept = malloc(sizeof(Work));
    *kept = work;
    kept->next = NULL;
    if (stream->last) stream->last->next = kept; else stream->first = kept;
    stream->last = kept;
}

int cudaGetDeviceCount(int *count) { *count = devices > 0 ? devices : 0; return devices < 0 ? INSUFFICIENT_DRIVER : 0; }
int cudaRuntimeGetVersion(int *version) { *version = 12060; return 0; }
int cudaDriverGetVersion(int *version) { *version = 12060; return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) { (void)device; *value = attribute == 75 ? 8 : 7; return 0; }
int cudaGetDeviceProperties(char *properties, int device) { (void)device; memset(properties, 0xff, 1024); strcpy(properties, "Fake Orin"); return 0; }
int cudaMemGetInfo(size_t *free, size_t *total) { *free = budget - used; *total = budget; return 0; }

int cudaMalloc(void **address, size_t size) {
    if (used + size > budget) return OUT_OF_MEMORY;
    *address = fresh(size, 1);
    return 0;
}
int cudaFree(void *address) { return gone(address, 1); }
int cudaMallocHost(void **address, size_t size) { *address = fresh(size, 0); return 0; }
int cudaFreeHost(void *address) { return gone(address, 0); }

int cudaStreamCreate(void **stream) { *stream = calloc(1, sizeof(Stream)); live++; return 0; }
int cudaStreamDestroy(Stream *stream) { free(stream); live--; return 0; }

int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, Stream *stream) {
    if (kind != 1 && kind != 2) return INVALID;
    add(stream, (Work){.to = to, .from = from, .size = size});
    return 0;
}
int fake_enqueue(Stream *stream, void (*call)(void *), void *argument) {
    add(stream, (Work){.call = call, .argument = argument});
    return 0;
}
int cudaStreamSynchronize(Stream *stream) {
    for (Work *work = stream->first; work;) {
        Work *done = work;
        if (work->call) work->call(work->argument); else memcpy(work->to, work->from, work->size);
        work = work->next;
        free(done);
    }
    stream->first = stream->last = NULL;
    int code = broken;
    broken = 0;
    return code;
}

const char *cudaGetErrorString(int code) {
    switch (code) {
        case OUT_OF_MEMORY: return "out of memory";
        case INSUFFICIENT_DRIVER: return "CUDA driver version is insufficient for CUDA runtime version";
        case ILLEGAL_ADDRESS: return "an illegal memory access was encountered";
        default: return "invalid argument";
    }
}
