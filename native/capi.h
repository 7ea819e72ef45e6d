/* The one door to the native runtime: C, no exceptions, no C++ types. Python (module.cpp) and C programs use this
 * header alone.
 *
 * Errors. What can fail returns gsm_status; where it is not GSM_OK, gsm_last_error() tells why and results are NULL.
 * Null pointers, sizes and indices out of range are GSM_ARGUMENT, never a crash; gsm_close and gsm_free take NULL.
 *
 * Ownership. gsm_open* gives a file (gsm_close), gsm_plan a session (gsm_free). A session keeps what it needs of its
 * file: either may be ended first. Texts belong to the library and live as long as said below.
 *
 * Threads. A file is immutable and may be shared. Calls on one session run one after the other; sessions are
 * independent. After a fork the child may use the sessions of its parent if no other thread was inside a call then.
 *
 * Versions. GSM_ABI grows when something here changes its meaning or disappears; new functions leave it as it is. A
 * program compares GSM_ABI with gsm_abi() once, at its start. */
#ifndef GOSSAMER_CAPI_H
#define GOSSAMER_CAPI_H
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GSM_API __attribute__((visibility("default")))
#else
#define GSM_API
#endif

#define GSM_ABI 2
#define GSM_MAX_RANK 8      /* sizes of a shape at most */
#define GSM_MAX_THREADS 256 /* threads of a session at most */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  GSM_OK = 0,
  GSM_IO = 1,       /* the file cannot be read */
  GSM_FORMAT = 2,   /* it is damaged, truncated or no packed file */
  GSM_GRAPH = 3,    /* its network breaks a rule */
  GSM_PLAN = 4,     /* this build or machine cannot run it so: instruction set, threads */
  GSM_ARGUMENT = 5, /* an argument of the call is wrong */
  GSM_MEMORY = 6    /* it needs more memory than allowed, or than there is */
} gsm_status;

typedef struct gsm_file gsm_file;       /* a checked packed file */
typedef struct gsm_session gsm_session; /* a plan with its memory */

/* The library. gsm_last_error: UTF-8, of the last failure of this thread, until its next one; "" before the first.
 * gsm_build_info: JSON {"version", "compiler", "isas_built": [...], "isas_available": [...], "isa": best}. */
GSM_API int gsm_abi(void);
GSM_API const char* gsm_version(void);
GSM_API const char* gsm_build_info(void);
GSM_API const char* gsm_last_error(void);

/* Files. `data` is copied. gsm_manifest: JSON text that lives as long as the file. */
GSM_API gsm_status gsm_open(const char* path, gsm_file** out);
GSM_API gsm_status gsm_open_bytes(const void* data, size_t size, gsm_file** out);
GSM_API void gsm_close(gsm_file* file);
GSM_API const char* gsm_manifest(const gsm_file* file);

/* Sessions. threads: from 1 to GSM_MAX_THREADS. max_batch: largest batch that will be run; 0: what the network allows.
 * isa: NULL or "" for the best. max_bytes: of arena and packed weights together; 0: the memory of the machine,
 * or of the container where that is less. */
GSM_API gsm_status gsm_plan(const gsm_file* file, int threads, int64_t max_batch, const char* isa, size_t max_bytes,
                            gsm_session** out);
GSM_API void gsm_free(gsm_session* session);

/* The same with more options: set what you need in one that began as GSM_OPTIONS. `size` tells which fields there are;
 * later versions add fields at the end, whose zero is the behaviour of before.
 *   tune  not 0: measure what might run in each layer (some milliseconds a layer) and take the fastest. What was
 *         measured is kept in a cache: $GOSSAMER_CACHE_DIR, $XDG_CACHE_HOME/gossamer or ~/.cache/gossamer. Without it
 *         no cache is read: plans depend on the file and the options alone.
 *   pin   not 0: every thread but the caller's stays on one CPU of those that the process may use. */
typedef struct {
  size_t size; /* sizeof(gsm_options) */
  int threads;
  int64_t max_batch;
  const char* isa;
  size_t max_bytes;
  int tune, pin;
} gsm_options;
#define GSM_OPTIONS {sizeof(gsm_options), 1, 0, NULL, 0, 0, 0}
GSM_API gsm_status gsm_plan_with(const gsm_file* file, const gsm_options* options, gsm_session** out);

/* Ports, in the order of the manifest. Names live as long as the session; NULL for an index out of range. */
GSM_API size_t gsm_num_inputs(const gsm_session* session);
GSM_API size_t gsm_num_outputs(const gsm_session* session);
GSM_API const char* gsm_input_name(const gsm_session* session, size_t index);
GSM_API const char* gsm_output_name(const gsm_session* session, size_t index);

/* What the numbers of an input are; -1 for an index out of range. Integers are at most 2^24 in magnitude, else the run
 * ends with GSM_ARGUMENT. Outputs are float32. */
#define GSM_FLOAT32 0
#define GSM_INT64 1
GSM_API int gsm_input_dtype(const gsm_session* session, size_t index);

/* The free dimensions: smallest and largest batch (first sizes) and length (one other size) of the session; 0 and 0
 * where the network fixes all such sizes, and the number given for it is then ignored everywhere: pass 0. */
GSM_API gsm_status gsm_batch_range(const gsm_session* session, int64_t* least, int64_t* most);
GSM_API gsm_status gsm_length_range(const gsm_session* session, int64_t* least, int64_t* most);

/* shape: room for GSM_MAX_RANK sizes; rank: how many were written. */
GSM_API gsm_status gsm_input_shape(const gsm_session* session, size_t index, int64_t batch, int64_t length,
                                   int64_t* shape, size_t* rank);
GSM_API gsm_status gsm_output_shape(const gsm_session* session, size_t index, int64_t batch, int64_t length,
                                    int64_t* shape, size_t* rank);

/* Runs. inputs[i], outputs[i]: row-major, of the shapes above for this batch and length; an output may not overlap an
 * input or another output. gsm_profile is a run that also fills "seconds" of every layer.
 *
 * States: a network may name pairs of an output and an input that carry something from run to run (what a recurrent
 * layer remembers). inputs[i] NULL for such an input: what the run before left, zero at first and after gsm_reset. A
 * run of another batch than the one that left it is GSM_ARGUMENT until then. */
GSM_API gsm_status gsm_run(gsm_session* session, int64_t batch, int64_t length, const void* const* inputs,
                           float* const* outputs);
GSM_API gsm_status gsm_profile(gsm_session* session, int64_t batch, int64_t length, const void* const* inputs,
                               float* const* outputs);
GSM_API gsm_status gsm_reset(gsm_session* session);

/* JSON {"isa", "threads", "arena_bytes", "weight_bytes", "remarks": [...], "layers": [{"name", "op", "kernel",
 * "reason", "macs", "macs_dense", "num_kept", "num_weights", "bytes", "seconds", "candidates": [{"name",
 * "estimated_us", "measured_us", "work": [...]}]}]}. remarks: what is worth knowing about the plan, such as a cache
 * that cannot be written. candidates: what the layer might run as; 0 microseconds where nobody knows. The text lives
 * until the next gsm_describe of the same gsm_session, or its end. */
GSM_API gsm_status gsm_describe(gsm_session* session, const char** json);

#ifdef __cplusplus
}
#endif
#endif
