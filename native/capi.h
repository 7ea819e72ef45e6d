/* The one door to the native runtime: C, no exceptions, no C++ types. Python (module.cpp) and C programs use this header alone.
 * Every function that can fail returns gsm_status and, where it is not GSM_OK, gsm_last_error() of this thread tells why. */
#ifndef GOSSAMER_CAPI_H
#define GOSSAMER_CAPI_H
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GSM_API __attribute__((visibility("default")))
#else
#define GSM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { GSM_OK = 0, GSM_IO = 1, GSM_FORMAT = 2, GSM_GRAPH = 3, GSM_PLAN = 4, GSM_ARGUMENT = 5, GSM_MEMORY = 6 } gsm_status;
typedef struct gsm_file gsm_file;         /* a checked packed file; immutable, may be shared by sessions and threads */
typedef struct gsm_session gsm_session;   /* a plan with its memory; one call at a time (calls from several threads are serialized) */

GSM_API const char* gsm_last_error(void);
GSM_API const char* gsm_version(void);
GSM_API const char* gsm_build_info(void);   /* JSON: {"version", "compiler", "isas_built": [...], "isas_available": [...], "isa": best} */

GSM_API gsm_status gsm_open(const char* path, gsm_file** out);
GSM_API gsm_status gsm_open_bytes(const void* data, size_t size, gsm_file** out);
GSM_API void gsm_close(gsm_file* file);
GSM_API const char* gsm_manifest(const gsm_file* file);           /* JSON text, lives as long as the file */

/* isa: NULL or "" for the best. threads >= 1. max_bytes 0: no limit. */
GSM_API gsm_status gsm_plan(gsm_file* file, int threads, int64_t max_batch, const char* isa, size_t max_bytes, gsm_session** out);
GSM_API void gsm_free(gsm_session* session);
GSM_API size_t gsm_num_inputs(const gsm_session*);
GSM_API size_t gsm_num_outputs(const gsm_session*);
/* shape: room for 8 sizes; rank is set. batch: size of the free dimension (ignored where there is none). */
GSM_API gsm_status gsm_input_shape(gsm_session*, size_t index, int64_t batch, int64_t* shape, size_t* rank);
GSM_API gsm_status gsm_output_shape(gsm_session*, size_t index, int64_t batch, int64_t* shape, size_t* rank);
/* inputs[i], outputs[i]: float32, row-major, of the shapes above for this batch. */
GSM_API gsm_status gsm_run(gsm_session*, int64_t batch, const float* const* inputs, float* const* outputs);
/* JSON: {"isa", "threads", "arena_bytes", "weight_bytes", "layers": [{"name","op","kernel","reason","macs","macs_dense","num_kept","num_weights","bytes","seconds"}]} */
/* The text lives until the next gsm_describe of this session, or its end. */
GSM_API gsm_status gsm_describe(gsm_session*, const char** json);
GSM_API gsm_status gsm_profile(gsm_session*, int64_t batch, const float* const* inputs, float* const* outputs);  /* one run that fills "seconds" */

#ifdef __cplusplus
}
#endif
#endif
